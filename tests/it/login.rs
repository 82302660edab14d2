//! login, logout, whoami: where tokens go, and which one wins.

use crate::harness::{Max, Rig};
use crate::terminal::Terminal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// rig logged in as `user`, its session in a file.
pub fn logged_in(max: &Max, user: &str) -> Rig {
    let rig = Rig::new();
    let args = ["login", "--url", &max.url, "--token-stdin", "--store", "file"];
    let ran = rig.run_with(&args, &max.token(user));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout, format!("logged in to {} as {user}\n", max.url));
    rig
}

fn config(rig: &Rig, name: &str) -> PathBuf {
    rig.home.path().join(".config/rig").join(name)
}

/// Where the session of a login to `max` is kept.
fn session(rig: &Rig, max: &Max) -> PathBuf {
    let name = max.url.trim_start_matches("http://").replace(':', "-");
    config(rig, &format!("sessions/{name}.json"))
}

#[test]
fn a_login_is_kept_without_its_token_and_ended_by_logout() {
    let max = Max::start();
    let rig = Rig::new();
    let token = max.token("ada");
    let args = ["login", "--url", &max.url, "--token-stdin", "--store", "file"];
    let ran = rig.run_with(&args, &format!("{token}\n"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let file = session(&rig, &max);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains(&token));
    assert!(!fs::read_to_string(config(&rig, "config.json")).unwrap().contains("max_"));

    let who = rig.json(&["whoami"]);
    assert_eq!(who["user"], "ada");
    assert_eq!(who["url"], max.url.as_str());
    assert_eq!((who["url_source"].as_str(), who["token_source"].as_str()), (Some("store"), Some("store")));

    // What was kept is worthless after the logout.
    let kept = fs::read_to_string(&file).unwrap();
    let settings = fs::read_to_string(config(&rig, "config.json")).unwrap();
    assert_eq!(rig.ok(&["logout"]), format!("logged out of {}\n", max.url));
    assert!(!file.exists() && !config(&rig, "config.json").exists());
    assert_eq!(rig.ok(&["logout"]), "nobody is logged in\n");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, kept).unwrap();
    fs::write(config(&rig, "config.json"), settings).unwrap();
    let ran = rig.run(&["whoami"]);
    ran.fails(4, "rig: your session has ended\n  run `rig login`\n");
}

#[test]
fn the_keyring_is_used_where_there_is_one_and_never_both() {
    let max = Max::start();
    let rig = Rig::new();
    let token = max.token("ada");
    let ran = rig.run_with(&["login", "--url", &max.url, "--token-stdin"], &token);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let file = session(&rig, &max);
    let settings = fs::read_to_string(config(&rig, "config.json")).unwrap();
    if settings.contains("\"keyring\"") {
        assert!(!file.exists());
        assert_eq!(ran.stderr, "");
    } else {
        assert!(file.exists());
        let said = format!("no keyring here: the session is kept in '{}' (mode 0600)\n", file.display());
        assert_eq!(ran.stderr, said);
    }
    assert_eq!(rig.json(&["whoami"])["user"], "ada");
    // Logging in again with the other place leaves nothing in the first.
    let ran = rig.run_with(&["login", "--url", &max.url, "--token-stdin", "--store", "file"], &token);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(file.exists());
    fs::remove_file(&file).unwrap();
    assert_eq!(rig.run(&["whoami"]).code, 4);
    rig.ok(&["logout"]);
}

#[test]
fn flag_environment_and_store_win_in_that_order() {
    let max = Max::start();
    let mut rig = logged_in(&max, "ada");
    rig.set("RIG_TOKEN", &max.token("bob"));
    let who = rig.json(&["whoami"]);
    assert_eq!((who["user"].as_str(), who["token_source"].as_str()), (Some("bob"), Some("RIG_TOKEN")));
    assert_eq!(who["url_source"], "store");
    rig.set("RIG_URL", &max.url);
    assert_eq!(rig.json(&["whoami"])["url_source"], "RIG_URL");
    assert_eq!(rig.json(&["whoami", "--url", &max.url])["url_source"], "flag");
    // A stored session is never sent to another server.
    rig.unset("RIG_TOKEN");
    let ran = rig.run(&["whoami", "--url", "https://elsewhere.example"]);
    ran.fails(
        4,
        &format!(
            "rig: you are logged in to '{}', not to 'https://elsewhere.example'\n  \
             run `rig login --url https://elsewhere.example`\n",
            max.url
        ),
    );
}

#[test]
fn url_and_token_suffice_without_a_home_and_leave_no_trace() {
    let max = Max::start();
    let mut rig = max.rig("ada");
    rig.unset("HOME");
    assert_eq!(rig.json(&["whoami"])["user"], "ada");
    rig.ok(&["create", "network", "blue"]);
    assert_eq!(fs::read_dir(rig.home.path()).unwrap().count(), 0);
}

#[test]
fn a_token_in_argv_works_and_warns() {
    let max = Max::start();
    let rig = Rig::new();
    let token = max.token("ada");
    let ran = rig.run(&["login", "--url", &max.url, "--token", &token, "--store", "file"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stderr,
        "warning: a token on the command line can be seen by other users; use --token-stdin\n"
    );
}

#[test]
fn without_a_terminal_a_missing_token_names_the_flag() {
    let rig = Rig::new();
    rig.run(&["login"]).fails(2, "rig: which server?\n  add --url URL\n");
    rig.run(&["login", "--url", "http://127.0.0.1:1"])
        .fails(2, "rig: cannot ask for the API token without a terminal\n  use --token-stdin\n");
}

/// The token is asked for in a real terminal: it isn't shown, and Ctrl-C puts the
/// echo back.
#[test]
fn the_prompt_hides_the_token_and_the_terminal_comes_back() {
    let max = Max::start();
    let token = max.token("ada");
    let rig = Rig::new();
    let mut terminal = Terminal::spawn(&rig, &["login", "--url", &max.url, "--store", "file"]);
    terminal.wait("API token (not shown): ");
    terminal.type_in(&format!("{token}\n"));
    assert_eq!(terminal.end(), 0);
    terminal.wait(&format!("logged in to {} as ada", max.url));
    let screen = terminal.written();
    assert!(!screen.contains(&token), "{screen}");

    let mut terminal = Terminal::spawn(&rig, &["login", "--url", &max.url, "--store", "file"]);
    terminal.wait("API token (not shown): ");
    assert!(!terminal.echoes());
    terminal.type_in("\u{3}");
    assert_eq!(terminal.end(), 130);
    assert!(terminal.echoes());
}
