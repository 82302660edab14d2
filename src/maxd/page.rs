//! Pages of lists: what the member `page` of a request wants is made of the whole list that a
//! use-case has answered, which knows nothing of it. A cursor is the key of the last item shown,
//! no place in the list: whatever was added or removed meanwhile, the next page begins behind it.

use super::near;
use crate::error::{Error, Kind, Result};
use crate::json;
use crate::wire::page::{LIMIT_MAX, Page};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// A request, the member of its answer that is the list, and the members that the list is
/// ordered by, no two items being alike in all of them. `-` before one: the largest first;
/// `?`: those that don't have it first.
type List = (&'static str, &'static str, &'static [&'static str]);

const LISTS: &[List] = &[
    ("network:list", "networks", &["name"]),
    ("app:list", "apps", &["network", "name"]),
    ("var:list", "variables", &["name"]),
    ("secret:list", "secrets", &["name"]),
    ("alert:list", "alerts", &["?resolved_at", "-id"]),
    ("webhook:list", "webhooks", &["network", "id"]),
    ("member:list", "members", &["user"]),
    ("token:list", "tokens", &["id"]),
    ("exec:list", "sessions", &["id"]),
    ("release:list", "releases", &["-release"]),
    ("trash:list", "items", &["-deleted_at", "kind", "-id"]),
];

/// The most conditions of a request, and the most bytes of one.
const CONDITIONS_MAX: usize = 20;
const CONDITION_MAX: usize = 1000;
/// Of a text so many characters take part in the order, so that cursors stay short.
const COMPARED: usize = 200;

/// The answer as the request `event` wants it: the page, and where the next one begins.
pub fn of(event: &str, payload: &str, answer: String) -> Result<String> {
    let Some((_, list, order)) = LISTS.iter().find(|list| list.0 == event) else { return Ok(answer) };
    let Some(page) = json::member(payload, "page").filter(|page| *page != "null") else { return Ok(answer) };
    let page: Page = miniserde::json::from_str(page)
        .map_err(|_| Error::usage("page is malformed: it has where, sort, limit, after").field("page"))?;
    let broken = || Error::new(Kind::Internal, "a list is damaged");
    let mut answer: Map<String, Value> = serde_json::from_str(&answer).map_err(|_| broken())?;
    let Some(Value::Array(items)) = answer.remove(*list) else { return Err(broken()) };
    let (items, next) = cut(order, &page, items)?;
    answer.insert((*list).to_owned(), Value::Array(items));
    answer.insert("next".to_owned(), next.map_or(Value::Null, Value::String));
    Ok(Value::Object(answer).to_string())
}

/// The page of a list of this order, and the cursor for the next one if there is more.
fn cut(natural: &[&str], page: &Page, items: Vec<Value>) -> Result<(Vec<Value>, Option<String>)> {
    let limit = page.limit.unwrap_or(u64::MAX);
    if page.limit.is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit)) {
        let message = format!("limit takes 1 to {LIMIT_MAX}, not {limit}");
        return Err(Error::usage(message).hint("for instance `--limit 200`").field("limit"));
    }
    let conditions = conditions(page, items.first())?;
    let sort = page.sort.as_deref();
    if let Some(sort) = sort {
        check_member("sort", sort.strip_prefix('-').unwrap_or(sort), items.first())?;
    }
    let order: Vec<&str> = sort.into_iter().chain(natural.iter().copied()).collect();
    let after = page.after.as_deref().map(|cursor| read_cursor(cursor, sort, order.len())).transpose()?;
    let mut keyed: Vec<(Vec<Value>, Value)> = items
        .into_iter()
        .filter(|item| conditions.iter().all(|(member, pattern)| is_like(pattern, &text(item, member))))
        .map(|item| (order.iter().map(|member| key(&item, member)).collect::<Vec<_>>(), item))
        .filter(|(key, _)| after.as_ref().is_none_or(|after| compare(&order, key, after).is_gt()))
        .collect();
    keyed.sort_by(|(a, _), (b, _)| compare(&order, a, b));
    let more = keyed.len() as u64 > limit;
    keyed.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = keyed.last().filter(|_| more).map(|(key, _)| cursor(sort, key));
    Ok((keyed.into_iter().map(|(_, item)| item).collect(), next))
}

/// The members and patterns of `where`.
fn conditions<'a>(page: &'a Page, first: Option<&Value>) -> Result<Vec<(&'a str, &'a str)>> {
    let given = page.only.as_deref().unwrap_or_default();
    if given.len() > CONDITIONS_MAX || given.iter().any(|one| one.len() > CONDITION_MAX) {
        let message = format!("where takes at most {CONDITIONS_MAX} conditions of {CONDITION_MAX} bytes");
        return Err(Error::usage(message).field("where"));
    }
    let read = |one: &'a String| {
        let (member, pattern) = one.split_once('=').ok_or_else(|| {
            Error::usage(format!("where takes MEMBER=VALUE, not '{one}'"))
                .hint("for instance `--where 'name=web*'`")
                .field("where")
        })?;
        check_member("where", member, first).map(|()| (member, pattern))
    };
    given.iter().map(read).collect()
}

/// Refuses a member that the items don't have. All have the same; of none nothing is known.
fn check_member(field: &str, member: &str, first: Option<&Value>) -> Result<()> {
    let Some(Value::Object(first)) = first else { return Ok(()) };
    if first.contains_key(member) {
        return Ok(());
    }
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    let all = format!("there are {}", names.join(", "));
    Err(Error::usage(format!("{field} takes a member of this list, not '{member}'"))
        .hint(near::among(member, names.into_iter(), &all))
        .field(field))
}

/// A member as JSON shows it; nothing for null.
fn text(item: &Value, member: &str) -> String {
    match item.get(member) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (parts, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in parts.split('*') {
        // The first place is the best: it leaves the most for what follows.
        let Some((_, behind)) = text.split_once(part) else { return false };
        text = behind;
    }
    text.ends_with(last)
}

/// What of an item takes part in the order.
fn key(item: &Value, member: &str) -> Value {
    if let Some(member) = member.strip_prefix('?') {
        return Value::Bool(item.get(member).is_some_and(|value| !value.is_null()));
    }
    match item.get(member.strip_prefix('-').unwrap_or(member)) {
        Some(Value::String(text)) => Value::String(text.chars().take(COMPARED).collect()),
        Some(other) => other.clone(),
        None => Value::Null,
    }
}

/// The order of two keys. What has no value is last, also where the largest is first.
fn compare(order: &[&str], a: &[Value], b: &[Value]) -> Ordering {
    let one = |((member, a), b): ((&&str, &Value), &Value)| match (a.is_null(), b.is_null()) {
        (false, false) if member.starts_with('-') => compare_values(b, a),
        (false, false) => compare_values(a, b),
        (a, b) => a.cmp(&b),
    };
    order.iter().zip(a).zip(b).map(one).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_values(a: &Value, b: &Value) -> Ordering {
    let kind = |value: &Value| match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::Array(_) | Value::Object(_) => 3,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_u64(), b.as_u64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
        },
        _ => kind(a).cmp(&kind(b)),
    }
}

/// The order that is asked for and a key, as letters, digits, `-` and `_`.
fn cursor(sort: Option<&str>, key: &[Value]) -> String {
    let sort = Value::String(sort.unwrap_or_default().to_owned());
    let all = std::iter::once(sort).chain(key.iter().cloned()).collect();
    URL_SAFE_NO_PAD.encode(Value::Array(all).to_string())
}

/// The key in a cursor of this order, which has so many members.
fn read_cursor(cursor: &str, sort: Option<&str>, members: usize) -> Result<Vec<Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
    let all = match serde_json::from_slice(&bytes) {
        Ok(Value::Array(all)) if all.len() == members + 1 => all,
        _ => Vec::new(),
    };
    match all.split_first() {
        Some((of, key)) if *of == *sort.unwrap_or_default() => Ok(key.to_vec()),
        _ => Err(Error::usage("after takes what an earlier page of this list, sorted alike, gave as next")
            .hint("begin again without `--after`")
            .field("after")),
    }
}

#[cfg(test)]
mod tests;
