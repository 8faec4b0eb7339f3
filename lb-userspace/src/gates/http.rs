//! A gate that asks a URL once, without following redirections.

use hyper::Uri;

use crate::{
    config::Verify,
    http::{self, Answer, Failure},
    release::engine::Outcome,
};

/// How much of an answer is read whose status is all that matters.
const ANSWER_BYTES: usize = 64 << 10;

/// Whether a URL answers with a good status; without an answer, nobody can tell.
pub async fn ask(url: &str, verify: &Verify, good: &[(u16, u16)]) -> Outcome {
    match get(url, verify, ANSWER_BYTES).await {
        Ok(Answer { status, .. }) => {
            let code = status.as_u16();
            if good
                .iter()
                .any(|&(first, last)| (first..=last).contains(&code))
            {
                return Outcome::Passed;
            }
            Outcome::Failed(format!("HTTP status {status}"))
        }
        Err(why) => Outcome::Inconclusive(why.to_string()),
    }
}

/// Asks a URL, and reads so much of the answer at most.
pub async fn get(url: &str, verify: &Verify, limit: usize) -> Result<Answer, Failure> {
    let url: Uri = url.parse()?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let host = url.authority().map_or("", |authority| authority.as_str());
    let response = http::call(&url, verify, http::get(path, host)?, limit).await?;
    Answer::of(response)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const GOOD: &[(u16, u16)] = &[(200, 299)];

    /// Asks a server that gives this answer; what it was asked as well.
    async fn asked(answer: &str) -> (Outcome, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut asked = vec![0; 1024];
            let length = stream.read(&mut asked).await.expect("a request");
            // A client that has read enough goes away.
            let _gone = stream.write_all(answer.as_bytes()).await;
            String::from_utf8_lossy(&asked[..length]).into_owned()
        };
        let url = format!("http://{at}/smoke?x=1");
        tokio::join!(ask(&url, &Verify::System, GOOD), serve)
    }

    #[tokio::test]
    async fn a_good_status_passes_and_any_other_fails_a_redirection_included() {
        let (passed, said) = asked("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(passed, Outcome::Passed);
        let said = said.to_ascii_lowercase();
        assert!(said.starts_with("get /smoke?x=1 http/1.1\r\n"), "{said}");
        assert!(said.contains("\r\nhost: 127.0.0.1:"), "{said}");
        let moved = "HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n";
        let failed = Outcome::Failed("HTTP status 302 Found".to_owned());
        assert_eq!(asked(moved).await.0, failed);
        let (broken, _) = asked("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(broken, Outcome::Failed(_)), "{broken:?}");
    }

    #[tokio::test]
    async fn a_long_answer_is_one_and_one_that_breaks_off_is_none() {
        let long = "x".repeat(2 * ANSWER_BYTES);
        let head = "HTTP/1.1 200 OK\r\ncontent-length: ";
        let whole = format!("{head}{}\r\n\r\n{long}", long.len());
        assert_eq!(asked(&whole).await.0, Outcome::Passed);
        for text in [&format!("{head}9\r\n\r\nx"), "SSH-2.0-x\r\n"] {
            let (outcome, _) = asked(text).await;
            assert!(matches!(outcome, Outcome::Inconclusive(_)), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn without_a_server_nobody_can_tell() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        drop(listener);
        let outcome = ask(&format!("http://{at}/"), &Verify::System, GOOD).await;
        let Outcome::Inconclusive(why) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(why.contains("refused"), "{why}");
    }
}
