//! Help, suggestions, `--version`, and the generated command reference.

use crate::harness::Rig;
use rig::commands::COMMANDS;
use std::fs;
use std::path::Path;

/// `UPDATE_DOCS=1 cargo test …` (`make docs`) writes the file instead.
#[test]
fn the_command_reference_is_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let text = rig::cli::help::markdown(COMMANDS);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == text, "docs/commands.md is stale: run `make docs`");
}

#[test]
fn every_command_has_help_with_examples_that_fits_80_columns() {
    let rig = Rig::new();
    fits(&rig.ok(&["--help"]));
    for command in COMMANDS {
        let mut args: Vec<&str> = command.words.text().split(' ').collect();
        args.push("--help");
        let help = rig.ok(&args);
        assert!(help.contains("\nExamples:\n  # "), "{help}");
        assert!(help.starts_with(command.summary.text()));
        fits(&help);
        for (_, example) in command.examples {
            assert!(example.text().contains("rig "), "{}", example.text());
        }
    }
}

fn fits(help: &str) {
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn help_and_version_need_no_home_and_write_nothing() {
    let mut rig = Rig::new();
    rig.unset("HOME");
    assert_eq!(rig.ok(&["--version"]), format!("rig {}\n", env!("CARGO_PKG_VERSION")));
    assert!(rig.ok(&["--help"]).starts_with("rig, the command-line client of Max\n"));
    assert_eq!(rig.ok(&["help", "create", "app"]), rig.ok(&["create", "app", "--help"]));
    assert_eq!(fs::read_dir(rig.home.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_command_line_says_what_is_meant() {
    let rig = Rig::new();
    let table: &[(&[&str], &str)] = &[
        (&["crate"], "rig: there is no command `rig crate`\n  did you mean `rig create`?\n"),
        (&["xyzzy"], "rig: there is no command `rig xyzzy`\n  see `rig --help`\n"),
        (
            &["create"],
            "rig: `rig create` what? One of: network, app, webhook, member, token, var, secret\n  see `rig create --help`\n",
        ),
        (&["create", "ap"], "rig: there is no command `rig create ap`\n  did you mean `rig create app`?\n"),
        (&["create", "app"], "rig: `rig create app` needs APP\n  see `rig create app --help`\n"),
        (
            &["list", "networks", "x"],
            "rig: `rig list networks` does not take 'x'\n  see `rig list networks --help`\n",
        ),
        (&["list", "apps", "--networ", "x"], "rig: there is no flag --networ\n  did you mean --network?\n"),
        (&["whoami", "--tail", "3"], "rig: `rig whoami` has no flag --tail\n  see `rig whoami --help`\n"),
        (&["logs", "app", "--tail"], "rig: --tail needs a value: --tail N\n"),
        (
            &["logs", "app", "--grep", "--follow"],
            "rig: --grep needs a value: --grep TEXT\n  write --grep=VALUE if it begins so\n",
        ),
        (&["whoami", "-o", "yaml"], "rig: 'yaml' is no output format\n  use `-o text` or `-o json`\n"),
        (
            &["whoami", "--timeout", "soon"],
            "rig: 'soon' is no duration\n  write for instance `--timeout 30s` or `2m`\n",
        ),
    ];
    for (args, stderr) in table {
        rig.run(args).fails(2, stderr);
    }
}

#[test]
fn a_short_flag_is_the_one_its_command_names() {
    let rig = Rig::new();
    for command in COMMANDS {
        for flag in command.flags.iter().filter(|flag| !flag.value.text().is_empty()) {
            let Some(short) = flag.short else { continue };
            let mut args: Vec<&str> = command.words.text().split(' ').collect();
            let short = format!("-{short}");
            args.push(&short);
            let stderr =
                format!("rig: --{0} needs a value: --{0} {1}\n", flag.long.text(), flag.value.text());
            // Those whose exit code is a program's.
            let code = if matches!(command.words.text(), "command" | "shell") { 255 } else { 2 };
            rig.run(&args).fails(code, &stderr);
        }
        for flag in command.flags.iter().filter(|flag| flag.value.text().is_empty()) {
            let Some(short) = flag.short else { continue };
            let mut args: Vec<&str> = command.words.text().split(' ').collect();
            let short = format!("-{short}");
            args.extend([&short, "a", "b", "c"]);
            let stderr = rig.run(&args).stderr;
            assert!(stderr.contains("` does not take '"), "{short} of {}: {stderr}", command.words.text());
        }
    }
}

#[test]
fn with_o_json_a_wrong_command_line_is_a_json_error_too() {
    let rig = Rig::new();
    for args in [["crate", "-o", "json"], ["-o", "json", "crate"]] {
        let ran = rig.run(&args);
        ran.fails(
            2,
            "{\"code\":\"usage\",\"message\":\"there is no command `rig crate`\",\
             \"hint\":\"did you mean `rig create`?\",\"exit_code\":2}\n",
        );
    }
}
