//! As much of the DNS (RFC 1035) as it takes to ask for a text without end and miss no answer.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;

use crate::{clock, failure::Failure, netns::Namespace};

/// The name that our servers know.
pub const NAME: &str = "version.shop.example";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
const TXT: u16 = 16;
const IN: u16 = 1;
/// Bytes of a message's header.
const HEADER: usize = 12;

/// One question, and what came of it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it was sent: nanoseconds of `CLOCK_REALTIME`.
    pub at_ns: u64,
    /// The text, as in `v1 b1`, or why there is none.
    pub answer: Result<String, Failure>,
}

/// Asks, one question after the other, until stopped.
#[derive(Debug)]
pub struct Resolver {
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    /// Asks from these addresses in turn, each question from a new port.
    pub fn start(from: &Namespace, sources: Vec<IpAddr>, target: SocketAddr) -> Result<Self> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, until) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = from.thread("resolver", move || {
            let mut sources = sources.into_iter().cycle();
            let mut ids = (1..=u16::MAX).cycle();
            while !until.load(Ordering::Relaxed)
                && let (Some(source), Some(id)) = (sources.next(), ids.next())
            {
                let at_ns = clock::now_ns();
                let answer = ask(source, target, id);
                let asked = Asked { at_ns, answer };
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(asked);
            }
        })?;
        Ok(Self {
            asked,
            stop,
            thread: Some(thread),
        })
    }

    /// What has been asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

fn ask(source: IpAddr, target: SocketAddr, id: u16) -> Result<String, Failure> {
    let mut answer = [0; 512];
    let socket = UdpSocket::bind((source, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(target)?;
    socket.send(&query(id))?;
    let length = crate::client::uninterrupted(|| socket.recv(&mut answer))?;
    text(&answer[..length], id).ok_or(Failure::Malformed)
}

/// A standard query for the text of [`NAME`].
fn query(id: u16) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in NAME.split('.') {
        query.push(u8::try_from(label.len()).expect("labels are short"));
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&TXT.to_be_bytes());
    query.extend_from_slice(&IN.to_be_bytes());
    query
}

/// The text in a good answer to the query of this id: one record, whose name is a pointer to the
/// question's, and one string in it.
fn text(answer: &[u8], id: u16) -> Option<String> {
    let query = query(id);
    let (header, rest) = answer.split_at_checked(HEADER)?;
    let code = header.get(3)? & 0x0f;
    let is_answer = header.get(2)? & 0x80 != 0 && code == 0;
    if header.get(..2)? != id.to_be_bytes() || !is_answer || header.get(6..8)? != [0, 1] {
        return None;
    }
    let record = rest.strip_prefix(query.get(HEADER..)?)?;
    // Name, type, class, time to live and length.
    let data = record.get(2 + 2 + 2 + 4 + 2..)?;
    let (&length, text) = data.split_first()?;
    String::from_utf8(text.get(..length.into())?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_answer_is_read_and_nothing_else_is_taken_for_one() {
        let mut answer = query(7);
        answer[2] = 0x85;
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, 6, 5]);
        answer.extend_from_slice(b"v1 b1");
        assert_eq!(text(&answer, 7).as_deref(), Some("v1 b1"));
        assert_eq!(text(&answer, 8), None, "another's");
        assert_eq!(text(&query(7), 7), None, "a question");
        answer[3] = 5;
        assert_eq!(text(&answer, 7), None, "refused");
    }
}
