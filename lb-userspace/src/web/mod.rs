//! The dashboard: three files that are part of the binary. What they show comes from `/v1/stream`.

use std::sync::LazyLock;

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest as _, Sha256};

/// Nothing but the daemon's own files is loaded, run or asked, and nobody frames the page: whoever
/// gets text of theirs into a name or a reason gets no script into a browser.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

static PAGE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/html; charset=utf-8", include_str!("index.html")));
static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/css; charset=utf-8", include_str!("style.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("app.js")));

/// The routes; they need nothing of the daemon.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(
            "/",
            get(|asked: HeaderMap| async move { PAGE.answer(&asked) }),
        )
        .route(
            "/style.css",
            get(|asked: HeaderMap| async move { STYLE.answer(&asked) }),
        )
        .route(
            "/app.js",
            get(|asked: HeaderMap| async move { SCRIPT.answer(&asked) }),
        )
}

/// A file.
struct Asset {
    kind: &'static str,
    text: &'static str,
    /// An entity tag (RFC 9110, section 8.8.3): another daemon may have another page.
    tag: String,
}

impl Asset {
    fn new(kind: &'static str, text: &'static str) -> Self {
        let tag = format!("\"{:x}\"", Sha256::digest(text));
        Self { kind, text, tag }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let known = asked.get(header::IF_NONE_MATCH);
        let known = known.is_some_and(|known| known.as_bytes() == self.tag.as_bytes());
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.text.into_response()
        };
        let headers = response.headers_mut();
        let fixed: [(HeaderName, &'static str); 5] = [
            (header::CONTENT_TYPE, self.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            // Kept, but asked for each time: the page and the daemon are of one version.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let first = PAGE.answer(&HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].clone();
        let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        let again = PAGE.answer(&asked);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        assert_eq!(STYLE.answer(&asked).status(), StatusCode::OK);
    }

    #[test]
    fn the_page_is_small_and_has_nothing_that_its_policy_forbids() {
        let files = [PAGE.text, STYLE.text, SCRIPT.text];
        assert!(files.iter().map(|text| text.len()).sum::<usize>() < 300_000);
        for forbidden in [" style=\"", " onclick=", "<style", "http://", "https://"] {
            let found = PAGE.text.find(forbidden);
            // The icon names the namespace of SVG, and asks nobody for it.
            let found = found.filter(|&at| !PAGE.text[at..].starts_with("http://www.w3.org/"));
            assert_eq!(found, None, "{forbidden}");
        }
        for unsafe_way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval("] {
            assert!(!SCRIPT.text.contains(unsafe_way), "{unsafe_way}");
        }
    }
}
