//! Toggles for applications, by the `OpenFeature` Remote Evaluation Protocol (OFREP), version 1: each is
//! a flag of type boolean.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::server::{Core, Shared};
use crate::{
    control::flags::{Because, Flag, Untold, Who},
    dataplane::Dataplane,
};

/// The longest body, in bytes: applications give their whole context.
const LIMIT: usize = 64 << 10;
/// The context's key for a client's address.
const CLIENT_IP: &str = "clientIp";
/// The context's key for whom a flag is evaluated.
const TARGETING_KEY: &str = "targetingKey";

/// Both ways to ask.
pub(super) fn routes<D: Dataplane + 'static>() -> Router<Arc<Shared<D>>> {
    Router::new()
        .route("/ofrep/v1/evaluate/flags", post(all))
        .route("/ofrep/v1/evaluate/flags/{key}", post(one))
        .layer(DefaultBodyLimit::max(LIMIT))
}

/// An evaluated flag.
#[derive(Debug, Serialize)]
struct Success {
    key: String,
    value: bool,
    reason: &'static str,
    variant: &'static str,
}

/// A flag that could not be evaluated; without a key, none could.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    error_code: &'static str,
    error_details: String,
    #[serde(skip)]
    status: StatusCode,
}

/// One flag of many.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    Success(Success),
    Failure(Failure),
}

#[derive(Debug, Serialize)]
struct All {
    flags: Vec<Told>,
}

type Body = Result<Bytes, BytesRejection>;

async fn one<D: Dataplane>(
    State(shared): Core<D>,
    key: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Path(key) = match key {
        Ok(key) => key,
        Err(rejection) => {
            let failure = Failure::new("PARSE_ERROR", rejection.body_text());
            return failure.into_response();
        }
    };
    let who = match who(&headers, body) {
        Ok(who) => who,
        Err(failure) => return failure.of(&key).into_response(),
    };
    match told(&key, shared.control().flag(&key, &who)) {
        Told::Success(success) => Json(success).into_response(),
        Told::Failure(failure) => failure.into_response(),
    }
}

async fn all<D: Dataplane>(State(shared): Core<D>, headers: HeaderMap, body: Body) -> Response {
    let who = match who(&headers, body) {
        Ok(who) => who,
        Err(failure) => return failure.into_response(),
    };
    let core = shared.control();
    let toggles = core.config().toggles.iter();
    let flags = toggles.map(|toggle| told(&toggle.name, core.flag(&toggle.name, &who)));
    let flags = flags.collect();
    drop(core);
    // Strings and truths have a form in JSON.
    let body = serde_json::to_vec(&All { flags }).unwrap_or_default();
    let tag = tag(&body);
    let etag = [(header::ETAG, tag.clone())];
    if is_known(&headers, &tag) {
        return (StatusCode::NOT_MODIFIED, etag).into_response();
    }
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (etag, kind, body).into_response()
}

fn told(key: &str, flag: Result<Flag, Untold>) -> Told {
    match flag {
        Ok(Flag { value, because }) => Told::Success(Success {
            key: key.to_owned(),
            value,
            reason: reason(because),
            variant: if value { "on" } else { "off" },
        }),
        Err(untold) => Told::Failure(Failure::from(&untold).of(key)),
    }
}

/// The reasons of `OpenFeature`'s specification, section "Types and Data Structures".
const fn reason(because: Because) -> &'static str {
    match because {
        Because::Default => "DEFAULT",
        Because::Split => "SPLIT",
        Because::Audience => "TARGETING_MATCH",
        Because::Static => "STATIC",
        Because::Off => "DISABLED",
    }
}

/// Who is asked about: a client's address, if one is given; else whatever stands for somebody.
fn who(headers: &HeaderMap, body: Body) -> Result<Who, Failure> {
    let body = body.map_err(|rejection| Failure {
        status: rejection.status(),
        ..Failure::new(
            "PARSE_ERROR",
            format!(
                "request body: {}; at most {LIMIT} bytes",
                rejection.body_text()
            ),
        )
    })?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let why = "content-type: not application/json; send the context as JSON";
        return Err(Failure::new("PARSE_ERROR", why.to_owned()));
    }
    let request: Value = serde_json::from_slice(&body)
        .map_err(|error| Failure::new("PARSE_ERROR", format!("request body: {error}")))?;
    let Value::Object(request) = request else {
        let why = "request body: no object; write it as {\"context\": {\"targetingKey\": \"...\"}}";
        return Err(Failure::new("PARSE_ERROR", why.to_owned()));
    };
    match request.get("context") {
        None | Some(Value::Null) => Ok(Who::Nobody),
        Some(Value::Object(context)) => in_context(context),
        Some(_) => Err(Failure::context("context: no object".to_owned())),
    }
}

fn in_context(context: &Map<String, Value>) -> Result<Who, Failure> {
    let text = |key: &str| match context.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Failure::context(format!("{key}: no string"))),
    };
    if let Some(client) = text(CLIENT_IP)? {
        let address = client.parse().map_err(|_| {
            Failure::context(format!(
                "{CLIENT_IP}: no address; write it as 198.51.100.7 or 2001:db8::7"
            ))
        })?;
        return Ok(address_of(address));
    }
    Ok(match text(TARGETING_KEY)? {
        None | Some("") => Who::Nobody,
        Some(key) => key
            .parse()
            .map_or_else(|_| Who::Key(key.to_owned()), address_of),
    })
}

/// A server on a socket for both families sees IPv4 clients as mapped ones (RFC 4291, section 2.5.5.2).
const fn address_of(address: std::net::IpAddr) -> Who {
    Who::Address(address.to_canonical())
}

/// A strong validator (RFC 9110, section 8.8.3).
fn tag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let digits = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("\"{}\"", digits.collect::<String>())
}

/// Whether the asker has it (RFC 9110, section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let fields = headers.get_all(header::IF_NONE_MATCH).iter();
    let texts = fields.filter_map(|field| field.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

impl Failure {
    const fn new(error_code: &'static str, error_details: String) -> Self {
        Self {
            key: None,
            error_code,
            error_details,
            status: StatusCode::BAD_REQUEST,
        }
    }

    const fn context(details: String) -> Self {
        Self::new("INVALID_CONTEXT", details)
    }

    fn of(self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self
        }
    }
}

impl From<&Untold> for Failure {
    fn from(untold: &Untold) -> Self {
        let failure = |code| Self::new(code, untold.to_string());
        match untold {
            Untold::NoToggle(_) => Self {
                status: StatusCode::NOT_FOUND,
                ..failure("FLAG_NOT_FOUND")
            },
            Untold::WhoIsIt(_) => failure("TARGETING_KEY_MISSING"),
            Untold::NoAddress { .. } => failure("INVALID_CONTEXT"),
            Untold::MoreThanAddress { .. } => failure("GENERAL"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(context: &Value) -> Result<Who, (&'static str, String)> {
        let mut headers = HeaderMap::new();
        let kind = "application/json; charset=utf-8".parse();
        headers.insert(header::CONTENT_TYPE, kind.expect("a header"));
        let body = json!({ "context": context }).to_string();
        let who = who(&headers, Ok(body.into()));
        who.map_err(|failure| (failure.error_code, failure.error_details))
    }

    #[test]
    fn an_address_is_one_however_it_is_given_and_any_other_key_is_a_name() {
        let address = |text: &str| Ok(Who::Address(text.parse().expect("an address")));
        let key = |text: &str| Ok(Who::Key(text.to_owned()));
        for (context, expected) in [
            (
                json!({ "clientIp": "198.51.100.7", "targetingKey": "ann" }),
                address("198.51.100.7"),
            ),
            (
                json!({ "targetingKey": "198.51.100.7" }),
                address("198.51.100.7"),
            ),
            (
                json!({ "targetingKey": "::ffff:198.51.100.7" }),
                address("198.51.100.7"),
            ),
            (json!({ "clientIp": "2001:db8::7" }), address("2001:db8::7")),
            (json!({ "targetingKey": "ann" }), key("ann")),
            (
                json!({ "targetingKey": "198.51.100.7:80" }),
                key("198.51.100.7:80"),
            ),
            (
                json!({ "targetingKey": "", "colour": ["red"] }),
                Ok(Who::Nobody),
            ),
            (json!({ "targetingKey": null }), Ok(Who::Nobody)),
            (json!(null), Ok(Who::Nobody)),
        ] {
            assert_eq!(asked(&context), expected, "{context}");
        }
        for (context, expected) in [
            (json!({ "targetingKey": 7 }), "targetingKey: no string"),
            (
                json!({ "clientIp": "ann" }),
                "clientIp: no address; write it as",
            ),
            (json!([]), "context: no object"),
        ] {
            let (code, details) = asked(&context).expect_err("refused");
            assert_eq!(code, "INVALID_CONTEXT");
            assert!(details.starts_with(expected), "{details}");
        }
    }

    #[test]
    fn a_tag_is_known_among_others_weak_or_strong() {
        let tag = tag(b"{}");
        let knows = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, text.parse().expect("a header"));
            is_known(&headers, &tag)
        };
        assert!(knows(&tag) && knows(&format!("\"x\", W/{tag}")) && knows("*"));
        assert!(!knows("\"x\"") && !is_known(&HeaderMap::new(), &tag));
    }
}
