//! `rig create network`, `rig create app`, `rig create webhook`, `rig create token`,
//! `rig create member`.

use super::logs::about_flag;
use super::tell;
use crate::cli::{Arg, Command, Flag, Matches};
use crate::error::Result;
use crate::name::Name;
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::view::filled;
use crate::wire::{app, member, network, token, webhook};
use std::path::Path;

/// `rig create network`.
pub const NETWORK: Command = Command {
    words: word("create network"),
    aliases: &[],
    summary: packed!("Create a network for apps"),
    about: packed!(
        "Its name becomes the subdomain of its apps and is unique in the whole system. A \
            name has 1 to 63 of a-z, 0-9 and -, and starts with a letter. Without one Max \
            assigns one."
    ),
    args: &[Arg { name: word("NAME"), help: packed!("the network's name"), required: false }],
    flags: &[],
    examples: packed![
        ("Apps answer under APP.blue.DOMAIN", "rig create network blue"),
        ("Let Max choose, and keep the name", "network=$(rig create network -o json | jq -r .name)"),
    ],
    run: network,
};

/// `rig create app`.
pub const APP: Command = Command {
    words: word("create app"),
    aliases: &[],
    summary: packed!("Create an app in a network"),
    about: packed!(
        "Its name becomes its host name: APP.NETWORK.DOMAIN. `rig deploy --create` does it \
            too."
    ),
    args: &[Arg { name: word("APP"), help: packed!("the app's name, or APP.NETWORK"), required: true }],
    flags: &[&session::NETWORK],
    examples: packed![("An app `web` in the network `blue`", "rig create app web --network blue")],
    run: app,
};

/// `rig create webhook`.
pub const WEBHOOK: Command = Command {
    words: word("create webhook"),
    aliases: &[],
    summary: packed!("Have a network's alerts posted to a URL"),
    about: packed!(
        "Max posts a JSON document when an alert is raised and when it is over, and tries again \
            while the receiver is down. Each message is signed with a secret that is shown only \
            now. docs/webhooks.md says how to check it."
    ),
    args: &[Arg { name: word("URL"), help: packed!("where to, http:// or https://"), required: true }],
    flags: &[&session::NETWORK],
    examples: packed![
        ("Tell a receiver of your own", "rig create webhook https://hooks.example.com/ -n blue"),
        ("Keep the secret", "rig create webhook URL -n blue -o json | jq -r .secret > secret"),
    ],
    run: webhook,
};

/// `rig create token`.
pub const TOKEN: Command = Command {
    words: word("create token"),
    aliases: &[],
    summary: packed!("Make an API token, for a script or another person's machine"),
    about: packed!(
        "Prints the token alone, this once. A token may read (see everything, change nothing), deploy \
            (also deploy, start, stop, scale, run commands and shells) or admin (everything), and never \
            more than your role in a network. Only an admin token makes and deletes tokens."
    ),
    args: &[],
    flags: &[&TOKEN_NAME, &SCOPE, &TOKEN_NETWORK, &EXPIRES],
    examples: packed![
        ("For a CI that deploys one network", "rig create token --scope deploy -n blue --name ci > token"),
        ("One that ends by itself", "rig create token --scope read --expires 30d"),
    ],
    run: token,
};

const TOKEN_NAME: Flag =
    Flag { long: word("name"), short: None, value: word("NAME"), help: packed!("a word for people") };
const SCOPE: Flag = Flag {
    long: word("scope"),
    short: None,
    value: word("SCOPE"),
    help: packed!("read, deploy or admin (read by default)"),
};
const TOKEN_NETWORK: Flag = Flag {
    long: word("network"),
    short: Some('n'),
    value: word("NETWORK"),
    help: packed!("only for this network"),
};
const EXPIRES: Flag = Flag {
    long: word("expires"),
    short: None,
    value: word("TIME"),
    help: packed!("it ends in `30d`, or then: RFC 3339"),
};

/// `rig create member`.
pub const MEMBER: Command = Command {
    words: word("create member"),
    aliases: &[],
    summary: packed!("Let another user into a network, or give him another role"),
    about: packed!(
        "A viewer sees everything and changes nothing; a deployer also deploys, starts, stops, scales, \
            runs commands and shells; an owner may everything. Who creates a network is its first owner. \
            A member whose role is lowered to viewer has what he runs ended."
    ),
    args: &[Arg { name: word("USER"), help: packed!("the user's name"), required: true }],
    flags: &[&session::NETWORK, &ROLE],
    examples: packed![
        ("Somebody who may look", "rig create member bob --network blue"),
        ("Somebody who may everything", "rig create member bob --network blue --role owner"),
    ],
    run: member,
};

const ROLE: Flag = Flag {
    long: word("role"),
    short: None,
    value: word("ROLE"),
    help: packed!("viewer, deployer or owner (a new member is a viewer)"),
};

fn network(session: &Session, matches: &Matches) -> Result<()> {
    let name = match matches.arg(0) {
        Some(name) => Some(Name::parse("network", name)?.to_string()),
        None => None,
    };
    let answer = session.max()?.document("network:create", &network::Create { name })?;
    tell(session, &answer, "created network {name} ({domain})")
}

fn app(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let request = app::Select { network: name.network.to_string(), app: name.app.to_string() };
    let answer = session.max()?.document("app:create", &request)?;
    tell(session, &answer, "created app {name} in network {network}")?;
    session.output.note(&filled(&answer, "it will answer at {url}; next: `rig deploy`"));
    Ok(())
}

fn webhook(session: &Session, matches: &Matches) -> Result<()> {
    let network = session.network(matches, None)?.to_string();
    let url = matches.arg(0).unwrap_or_default().to_owned();
    let answer = session.max()?.document("webhook:create", &webhook::Create { network, url })?;
    tell(session, &answer, "created webhook {id} of network {network}\nsecret {secret}")?;
    session.output.note("keep the secret: it is not shown again");
    Ok(())
}

fn token(session: &Session, matches: &Matches) -> Result<()> {
    let own = |flag: &Flag| matches.value(flag).map(str::to_owned);
    let request = token::Create {
        name: own(&TOKEN_NAME),
        scope: own(&SCOPE),
        network: own(&TOKEN_NETWORK),
        expires: own(&EXPIRES),
    };
    let answer = session.max()?.document("token:create", &request).map_err(about_flag)?;
    tell(session, &answer, "{token}")?;
    session
        .output
        .note(&filled(&answer, "this is token {id}, which may {scope}: keep it, it is not shown again"));
    Ok(())
}

fn member(session: &Session, matches: &Matches) -> Result<()> {
    let network = session.network(matches, None)?.to_string();
    let (user, role) =
        (matches.arg(0).unwrap_or_default().to_owned(), matches.value(&ROLE).map(str::to_owned));
    let request = member::Create { network, user, role };
    let answer = session.max()?.document("member:create", &request).map_err(about_flag)?;
    tell(session, &answer, "{user} is {role} of network {network}")
}
