//! `ca`: the file of those who may vouch for the server that a URL names.

use std::path::PathBuf;

use hyper::Uri;

use super::{errors::Fault, raw::Section, setting};

/// The file, if one is named; refused where the URL asks nobody for a certificate. A URL is unknown
/// where it has a problem of its own.
pub(super) fn read(section: &mut Section, url: Option<&str>) -> Option<PathBuf> {
    let file = section.setting("ca", |text: &String| setting::path(text));
    let url = url.and_then(|url| url.parse::<Uri>().ok());
    let plain = url.is_some_and(|url| url.scheme_str() != Some("https"));
    if file.is_some() && plain {
        section.refuse(Fault::PlainAuthority);
    }
    file
}
