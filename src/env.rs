//! What variables an app can have: names and values that an environment can hold and that
//! are not Max's own.

use crate::error::{Error, Kind, Result};
use crate::packed::packed;

/// The longest value, in bytes.
pub const VALUE_MAX: usize = 64 << 10;
/// The longest name, in bytes.
pub const NAME_MAX: usize = 255;

/// Variables that are Max's own, and why.
const RESERVED: &[(&str, &str)] = &[
    ("PORT", "it tells an instance where to listen"),
    ("HOST", "it tells an instance where to listen"),
    ("PATH", "it leads to what the release has installed"),
    ("HOME", "it is the release's directory"),
];

/// Whether a program is led by it to load code of the app's before it is inside the sandbox.
pub fn loads_code(name: &str) -> bool {
    name.starts_with("LD_")
        || name.starts_with("BASH_FUNC_")
        || ["GLIBC_TUNABLES", "GCONV_PATH"].contains(&name)
}

/// Refuses a name that a variable of an app can't have.
pub fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || name.len() > NAME_MAX {
        return Err(Error::usage(format!("'{name}' is no variable's name"))
            .hint(format!(
                "a name has 1 to {NAME_MAX} of A-Z, a-z, 0-9 and _, and does not start with a digit"
            ))
            .field("name"));
    }
    if let Some((name, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
        let message = format!("'{name}' is Max's own: {why}");
        return Err(Error::usage(message).hint("choose another name").field("name"));
    }
    if loads_code(name) {
        let message = format!("'{name}' would change the programs that start the app");
        return Err(Error::usage(message)
            .hint(packed!("set it in the command that runs the app"))
            .field("name"));
    }
    Ok(())
}

/// Refuses a value of so many bytes that is too long.
pub fn check_size(name: &str, size: usize) -> Result<()> {
    if size <= VALUE_MAX {
        return Ok(());
    }
    let message = format!("the value of '{name}' has {size} bytes; at most {VALUE_MAX} are taken");
    Err(Error::new(Kind::TooLarge, message).field("value"))
}

/// Refuses a value that a variable can't have.
pub fn check_value(name: &str, value: &str) -> Result<()> {
    check_size(name, value.len())?;
    if value.contains('\0') {
        let message = format!("the value of '{name}' holds a zero byte, which no environment can");
        return Err(Error::usage(message).field("value"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_an_environment_and_not_max_s_own() {
        for name in ["A", "a", "_", "DATABASE_URL", "http_proxy", "x9", &"a".repeat(NAME_MAX)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "9", "a-b", "a.b", "é", "a b", "a=b", "PORT", "HOST", "PATH", "HOME", "LD_PRELOAD"]
        {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name(&"a".repeat(NAME_MAX + 1)).is_err());
    }
}
