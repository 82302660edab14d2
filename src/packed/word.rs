//! The names in tables, such as those of columns. A slice takes sixteen bytes and is relocated
//! each time rig starts; this takes two.

use super::{place, until_zero};

/// All words, a zero byte behind each, and where each begins.
const WORDS: (&str, &[(&str, u16)]) = include!(concat!(env!("OUT_DIR"), "/words.rs"));

static ALL: &str = WORDS.0;

/// A text that stands in a table: where it begins in all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(u16);

/// The [`Word`] for a literal, which `build.rs` finds in the call of this and of what makes
/// columns. For constants only: elsewhere it would bring all places into rig.
pub const fn word(text: &str) -> Word {
    Word(place(WORDS.1, text))
}

impl Word {
    /// The text itself.
    pub fn text(self) -> &'static str {
        until_zero(ALL, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_its_text() {
        assert!(WORDS.1.len() > 50);
        for (text, _) in WORDS.1 {
            assert_eq!(word(text).text(), *text);
        }
    }
}
