//! A row of a packet table.

use lb_common::reason::Reason;

use crate::{frame::Frame, lab::Lab, outcome::Verdict};

/// One packet, and what must become of it.
pub struct Case {
    description: String,
    input: Vec<u8>,
    verdict: Verdict,
    reason: Reason,
    output: Vec<u8>,
}

impl Case {
    /// The packet leaves by the interface it came in by, as `output`.
    pub fn transmitted(description: impl Into<String>, input: &Frame, output: &Frame) -> Self {
        Self {
            description: description.into(),
            input: input.bytes(),
            verdict: Verdict::Transmit,
            reason: Reason::Transmitted,
            output: output.bytes(),
        }
    }

    /// The packet leaves by the interface it came in by, as these bytes.
    pub fn sent(description: impl Into<String>, input: Vec<u8>, output: Vec<u8>) -> Self {
        Self {
            description: description.into(),
            input,
            verdict: Verdict::Transmit,
            reason: Reason::Transmitted,
            output,
        }
    }

    /// The packet is left to the kernel as it came.
    pub fn passed(description: impl Into<String>, input: Vec<u8>, reason: Reason) -> Self {
        Self {
            description: description.into(),
            output: input.clone(),
            input,
            verdict: Verdict::Pass,
            reason,
        }
    }

    /// The packet is dropped, and not changed before.
    pub fn dropped(description: impl Into<String>, input: &Frame, reason: Reason) -> Self {
        Self {
            verdict: Verdict::Drop,
            ..Self::passed(description, input.bytes(), reason)
        }
    }

    /// The same row for another way out.
    pub fn by(self, verdict: Verdict, reason: Reason) -> Self {
        Self {
            verdict,
            reason,
            ..self
        }
    }

    /// Sends the packet and compares all that can be seen.
    pub fn check(&self, lab: &mut Lab) {
        let outcome = lab.send(&self.input);
        let told = (outcome.verdict, outcome.reason);
        assert_eq!(told, (self.verdict, self.reason), "{}", self.description);
        assert_eq!(
            hex(&outcome.frame),
            hex(&self.output),
            "{}: left as against right, from {}",
            self.description,
            hex(&self.input)
        );
    }
}

/// Checks a whole table against one data plane.
pub fn check(lab: &mut Lab, cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        case.check(lab);
    }
}

/// Bytes as one reads them in a capture.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}
