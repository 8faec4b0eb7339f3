//! A server's certificate, which vouches for itself.

use std::{fs, path::PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::unique;

/// The name that all of our servers with TLS have.
pub const HOST: &str = "shop.example.net";

/// A certificate for [`HOST`] and its key, as files in PEM form; gone when dropped.
#[derive(Debug)]
pub struct Certificate {
    directory: TempDir,
    chain: String,
    key: String,
}

impl Certificate {
    /// Makes another one.
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let new = Self {
            directory: unique::directory()?,
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        };
        fs::write(new.path(), &new.chain)?;
        fs::write(new.key_path(), &new.key)?;
        Ok(new)
    }

    /// The certificate's file, which is also that of the authority.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// The key's file.
    pub fn key_path(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// Both in PEM form.
    pub fn pem(&self) -> (&str, &str) {
        (&self.chain, &self.key)
    }
}
