//! A gate that asks Prometheus, by its HTTP API: `GET /api/v1/query`.

use std::{collections::BTreeMap, fmt::Write as _};

use hyper::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

use super::http;
use crate::{
    config::Verify,
    release::{condition::Condition, engine::Outcome},
};

/// A longer answer is none.
const ANSWER_BYTES: usize = 1 << 20;
/// So much of a sample's labels, and of a complaint, is told, in characters.
const SHOWN: usize = 200;

/// The envelope of all answers.
#[derive(Deserialize)]
struct Reply {
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Sample>),
    Scalar(Value),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

/// A time, and a number as text: JSON has no NaN.
type Value = (IgnoredAny, String);

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    /// A native histogram has none.
    value: Option<Value>,
}

/// Whether the condition holds for every value of the answer.
pub async fn ask(url: &str, verify: &Verify, query: &str, condition: &str) -> Outcome {
    let Ok(condition) = condition.parse::<Condition>() else {
        return Outcome::Inconclusive(format!("`{condition}` is no condition"));
    };
    let url = url.trim_end_matches('/');
    let url = format!("{url}/api/v1/query?query={}", encoded(query));
    match http::get(&url, verify, ANSWER_BYTES).await {
        Ok(answer) => judge(answer.status, answer.body.as_deref(), condition),
        Err(why) => Outcome::Inconclusive(format!("Prometheus gave no answer: {why}")),
    }
}

/// What an answer means.
fn judge(status: StatusCode, body: Option<&[u8]>, condition: Condition) -> Outcome {
    let unclear = |why: String| Outcome::Inconclusive(why);
    let Some(body) = body else {
        return unclear(format!(
            "Prometheus answered more than {ANSWER_BYTES} bytes; narrow the query"
        ));
    };
    let reply = serde_json::from_slice::<Reply>(body);
    if !status.is_success() {
        let error = reply.ok().and_then(|reply| reply.error).unwrap_or_default();
        return unclear(format!("Prometheus answered {status}: {}", cut(&error)));
    }
    let data = match reply {
        Ok(Reply {
            data: Some(data), ..
        }) => data,
        Ok(Reply { error, .. }) => {
            return unclear(format!(
                "Prometheus answered no data: {}",
                cut(&error.unwrap_or_default())
            ));
        }
        Err(error) => return unclear(format!("Prometheus gave no answer of its API: {error}")),
    };
    let samples = match data {
        Data::Vector(samples) => samples,
        Data::Scalar(value) => vec![Sample {
            metric: BTreeMap::new(),
            value: Some(value),
        }],
        Data::Matrix(_) | Data::String(_) => {
            return unclear(
                "the query gives no instant vector and no scalar; change it".to_owned(),
            );
        }
    };
    judge_samples(&samples, condition)
}

/// One value that breaks the condition is a failure, whatever the others are; then one that is no
/// number leaves it open.
fn judge_samples(samples: &[Sample], condition: Condition) -> Outcome {
    if samples.is_empty() {
        return Outcome::Inconclusive("no data: the query's answer is empty".to_owned());
    }
    let mut unclear = None;
    for sample in samples {
        let labels = labels(&sample.metric);
        let text = sample
            .value
            .as_ref()
            .map_or("a histogram", |value| &value.1);
        match text.parse().ok().and_then(|value| condition.holds(value)) {
            Some(true) => {}
            Some(false) => return Outcome::Failed(format!("{labels}{text} is not {condition}")),
            None => unclear = unclear.or(Some(format!("{labels}{text} is no number"))),
        }
    }
    unclear.map_or(Outcome::Passed, Outcome::Inconclusive)
}

fn labels(metric: &BTreeMap<String, String>) -> String {
    if metric.is_empty() {
        return String::new();
    }
    let labels = metric
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"));
    let labels: Vec<_> = labels.collect();
    format!("{{{}}} ", cut(&labels.join(", ")))
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// A value of a URL's query: all but the unreserved characters of RFC 3986, section 2.3.
fn encoded(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(all, "%{byte:02X}");
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Outcome {
        let status = StatusCode::from_u16(status).expect("a status");
        judge(
            status,
            Some(body.as_bytes()),
            "< 0.01".parse().expect("a condition"),
        )
    }

    fn vector(values: &[&str]) -> String {
        let samples: Vec<_> = values
            .iter()
            .map(|value| {
                format!(r#"{{"metric":{{"job":"shop"}},"value":[1700000000.1,"{value}"]}}"#)
            })
            .collect();
        let result = samples.join(",");
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
    }

    fn is_unclear(status: u16, body: &str, expected: &str) {
        let outcome = judged(status, body);
        let Outcome::Inconclusive(why) = &outcome else {
            panic!("{body}: {outcome:?}");
        };
        assert!(why.contains(expected), "{why}");
    }

    #[test]
    fn the_condition_must_hold_for_every_value() {
        assert_eq!(judged(200, &vector(&["0.001", "0"])), Outcome::Passed);
        let failed = Outcome::Failed(r#"{job="shop"} 0.5 is not < 0.01"#.to_owned());
        assert_eq!(judged(200, &vector(&["0.001", "0.5"])), failed);
        let infinite = judged(200, &vector(&["+Inf"]));
        assert!(matches!(infinite, Outcome::Failed(_)), "{infinite:?}");
        let scalar = |value: &str| {
            let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"X"]}}"#;
            judged(200, &body.replace('X', value))
        };
        assert_eq!(scalar("0.001"), Outcome::Passed);
        assert_eq!(scalar("1"), Outcome::Failed("1 is not < 0.01".to_owned()));
    }

    #[test]
    fn no_data_and_no_number_are_neither_success_nor_failure() {
        is_unclear(200, &vector(&[]), "no data");
        is_unclear(200, &vector(&["NaN"]), "NaN is no number");
        is_unclear(200, &vector(&["0.001", "NaN"]), "NaN is no number");
        let failed = judged(200, &vector(&["NaN", "0.5"]));
        assert!(matches!(failed, Outcome::Failed(_)), "{failed:?}");
        let histogram = vector(&["1"]).replace("\"value\"", "\"histogram\"");
        is_unclear(200, &histogram, "a histogram is no number");
    }

    #[test]
    fn what_is_no_answer_of_the_api_tells_nothing() {
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        is_unclear(400, error, "400 Bad Request: parse error");
        is_unclear(200, error, "no data: parse error");
        is_unclear(503, "<html>", "503 Service Unavailable");
        is_unclear(200, "<html>", "no answer of its API");
        is_unclear(302, "", "302 Found");
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        is_unclear(200, matrix, "no instant vector");
        let too_long = judge(StatusCode::OK, None, "< 1".parse().expect("a condition"));
        assert!(matches!(too_long, Outcome::Inconclusive(_)), "{too_long:?}");
    }

    #[test]
    fn a_query_is_sent_as_it_is() {
        let query = r#"rate(x{a="b c"}[5m]) & 1+1"#;
        let expected = "rate%28x%7Ba%3D%22b%20c%22%7D%5B5m%5D%29%20%26%201%2B1";
        assert_eq!(encoded(query), expected);
    }
}
