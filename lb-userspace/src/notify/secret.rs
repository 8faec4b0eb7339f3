//! Signatures by the Standard Webhooks specification: HMAC-SHA256 over id, time and body.

use std::{fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use thiserror::Error;

/// Begins a secret that is written in base64.
const ENCODED: &str = "whsec_";

/// A message can't be signed.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("secret file can't be read: {0}; name a readable file with `secret_file`")]
    Read(#[from] io::Error),
    /// There is nothing in it.
    #[error(
        "secret file is empty; write a secret into it, such as `openssl rand -base64 32` makes"
    )]
    Empty,
    /// Not what it says it is.
    #[error("secret file: what follows `whsec_` is not base64; write the secret as it was given")]
    Encoding,
}

/// The header `webhook-signature`: one signature for each secret of the file, which has one a
/// line, so that a receiver may know the old one or the new one.
pub fn sign(file: &Path, id: &str, time: u64, body: &[u8]) -> Result<String, SecretError> {
    let text = fs::read_to_string(file)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let signatures = lines.map(|line| {
        let secret = match line.strip_prefix(ENCODED) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| SecretError::Encoding)?,
            None => line.as_bytes().to_vec(),
        };
        Ok(signature(&secret, id, time, body))
    });
    let signatures: Vec<String> = signatures.collect::<Result<_, SecretError>>()?;
    Some(signatures.join(" "))
        .filter(|signatures| !signatures.is_empty())
        .ok_or(SecretError::Empty)
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes keys of any length (RFC 2104)"
)]
fn signature(secret: &[u8], id: &str, time: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: u64 = 1_614_265_330;
    const BODY: &[u8] = b"{\"test\": 2432232314}";
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn sign_with(secret: &str) -> Result<String, SecretError> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("key");
        fs::write(&file, secret).expect("written");
        sign(&file, ID, TIME, BODY)
    }

    #[test]
    fn the_specifications_example_is_signed_alike() {
        assert_eq!(sign_with(SECRET).expect("signed"), SIGNATURE);
        assert_eq!(
            sign_with(&format!("\n {SECRET}\n")).expect("signed"),
            SIGNATURE
        );
    }

    #[test]
    fn a_second_secret_adds_a_signature() {
        let both = sign_with(&format!("plain\n{SECRET}")).expect("signed");
        let signatures: Vec<_> = both.split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert_eq!(signatures[1], SIGNATURE);
        assert_ne!(signatures[0], SIGNATURE);
    }

    #[test]
    fn what_is_no_secret_is_said() {
        for (text, expected) in [(" \n", "is empty"), ("whsec_!", "not base64")] {
            let said = sign_with(text).expect_err("no secret").to_string();
            assert!(said.contains(expected), "{said}");
        }
        let said = sign(Path::new("/nowhere"), ID, TIME, BODY).expect_err("no file");
        assert!(said.to_string().contains("can't be read"), "{said}");
    }
}
