//! Escapes behind a line start, as OpenSSH's client has them (ssh(1), "ESCAPE CHARACTERS").

/// What typing means.
#[derive(PartialEq, Eq, Debug)]
pub enum Step {
    /// It goes to the program.
    Send(Vec<u8>),
    /// `~.`: the session ends.
    End,
    /// `~d`: rig leaves it as it is.
    Leave,
    /// `~^Z`: rig is suspended.
    Suspend,
    /// `~?`: what there is.
    Help,
}

/// What `~?` says.
pub const HELP: &str = "\
Escapes, known at the start of a line:\r
  ~.   end the session\r
  ~d   leave it, to come back with `rig shell --attach`\r
  ~^Z  suspend rig\r
  ~?   show this\r
  ~~   a tilde";

const ESCAPE: u8 = b'~';
const CONTROL_Z: u8 = 0x1a;

/// Where in a line typing is.
pub struct Escapes {
    line_start: bool,
    /// An escape waits for what it means.
    pending: bool,
}

impl Escapes {
    /// At the start of a line.
    pub fn new() -> Escapes {
        Escapes { line_start: true, pending: false }
    }

    /// What these bytes mean, in order.
    pub fn take(&mut self, typed: &[u8]) -> Vec<Step> {
        let (mut steps, mut sent) = (Vec::new(), Vec::new());
        for byte in typed {
            if std::mem::take(&mut self.pending) {
                let step = match *byte {
                    b'.' => Some(Step::End),
                    b'd' => Some(Step::Leave),
                    CONTROL_Z => Some(Step::Suspend),
                    b'?' => Some(Step::Help),
                    ESCAPE => None,
                    _ => {
                        sent.push(ESCAPE);
                        None
                    }
                };
                if let Some(step) = step {
                    if !sent.is_empty() {
                        steps.push(Step::Send(std::mem::take(&mut sent)));
                    }
                    steps.push(step);
                    continue;
                }
            } else if self.line_start && *byte == ESCAPE {
                self.pending = true;
                continue;
            }
            self.line_start = matches!(byte, b'\r' | b'\n');
            sent.push(*byte);
        }
        if !sent.is_empty() {
            steps.push(Step::Send(sent));
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_known_at_the_start_of_a_line() {
        let send = |text: &str| Step::Send(text.into());
        for (typed, steps) in [
            ("ls\r", vec![send("ls\r")]),
            ("~.", vec![Step::End]),
            ("a~.\r", vec![send("a~.\r")]),
            ("a\r~.", vec![send("a\r"), Step::End]),
            ("~~", vec![send("~")]),
            ("~~.", vec![send("~.")]),
            ("~x", vec![send("~x")]),
            ("~\r~.", vec![send("~\r"), Step::End]),
            ("~?~?b", vec![Step::Help, Step::Help, send("b")]),
            ("~\u{1a}", vec![Step::Suspend]),
            ("~d", vec![Step::Leave]),
        ] {
            assert_eq!(Escapes::new().take(typed.as_bytes()), steps, "{typed:?}");
            // However it arrives.
            let (mut escapes, mut sent) = (Escapes::new(), Vec::new());
            for byte in typed.bytes() {
                for step in escapes.take(&[byte]) {
                    match (sent.last_mut(), step) {
                        (Some(Step::Send(before)), Step::Send(more)) => before.extend(more),
                        (_, step) => sent.push(step),
                    }
                }
            }
            assert_eq!(sent, steps, "{typed:?}");
        }
    }
}
