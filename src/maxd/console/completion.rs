//! What may stand in the place of a word, and how that is shown.

use super::text::{cut, safe, width};
use std::fmt::Write;

/// So many words are listed.
const LIST_MAX: usize = 100;

/// What may stand in a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The byte of the line where it begins.
    pub start: usize,
    /// The words; all begin with what stands there.
    pub words: Vec<String>,
}

/// The beginning that all have in common.
pub fn common(words: &[String]) -> &str {
    let Some(first) = words.first() else { return "" };
    let same = |word: &String| {
        let pairs = first.char_indices().zip(word.chars());
        pairs.take_while(|((_, a), b)| a == b).map(|((at, a), _)| at + a.len_utf8()).last().unwrap_or(0)
    };
    let length = words.iter().map(same).min().unwrap_or(0);
    first.get(..length).unwrap_or_default()
}

/// Writes words in columns below the row of the cursor.
pub fn list(out: &mut String, words: &[String], columns: usize) {
    let shown = words.get(..LIST_MAX).unwrap_or(words);
    let wide = shown.iter().map(|word| width(word)).max().unwrap_or(0) + 2;
    let across = (columns / wide).max(1);
    for row in shown.chunks(across) {
        out.push_str("\r\n");
        for (number, word) in row.iter().enumerate() {
            let word = safe(word);
            let word = cut(&word, columns.saturating_sub(1));
            out.push_str(&word);
            if number + 1 < row.len() {
                (width(&word)..wide).for_each(|_| out.push(' '));
            }
        }
    }
    if words.len() > shown.len() {
        // A string takes what is written to it.
        let _ = write!(out, "\r\n… and {} more", words.len() - shown.len());
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_words_have_in_common_ends_between_characters() {
        assert_eq!(common(&words(&["releases", "restart"])), "re");
        assert_eq!(common(&words(&["é", "è"])), "");
        assert_eq!(common(&words(&["web", "web-2"])), "web");
        assert_eq!(common(&[]), "");
    }

    #[test]
    fn a_list_has_columns_and_an_end() {
        let mut out = String::new();
        list(&mut out, &words(&["a", "bbb", "cc"]), 12);
        assert_eq!(out, "\r\na    bbb\r\ncc\r\n");
        let many: Vec<String> = (0..250).map(|number| format!("w{number}")).collect();
        let mut out = String::new();
        list(&mut out, &many, 80);
        assert!(out.ends_with("\r\n… and 150 more\r\n"));
    }
}
