//! The command lines of rig and maxd, arguments separated by zero bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rig::cli::help::help;
use rig::cli::parse::{Invocation, parse, wants_json};
use rig::commands::COMMANDS;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

fuzz_target!(|data: &[u8]| {
    let args: Vec<OsString> =
        data.split(|byte| *byte == 0).map(|arg| OsStr::from_bytes(arg).into()).collect();
    let _ = wants_json(&args);
    match parse(COMMANDS, args.clone()) {
        Ok(Invocation::Help(words)) => assert!(!help(COMMANDS, &words).is_empty()),
        Ok(Invocation::Version) => {}
        Ok(Invocation::Run(command, matches)) => {
            assert!(COMMANDS.iter().any(|known| known.words == command.words));
            let required = command.args.iter().filter(|arg| arg.required).count();
            for index in 0..required {
                assert!(matches.arg(index).is_some(), "a required argument is missing");
            }
        }
        Err(error) => says_why(&error),
    }
    if let Err(error) = rig::maxd::args::parse(args.into_iter()) {
        says_why(&error);
    }
});

fn says_why(error: &rig::error::Error) {
    assert!(!error.message().is_empty());
    assert_eq!(error.kind().exit_code(), 2, "{}", error.message());
}
