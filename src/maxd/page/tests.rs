//! Pages of random lists, cursors, conditions.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

const ORDER: &[&str] = &["?over", "-id"];

/// xorshift64*: the same lists in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }

    /// Few values, so that there are many ties.
    fn value(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2..5 => json!([0, 5, 40, u64::MAX][self.below(4) as usize]),
            _ => json!(["", "a", "b", "äb", "10", "9"][self.below(6) as usize]),
        }
    }

    fn item(&mut self, id: u64) -> Value {
        let over = if self.below(2) == 0 { Value::Null } else { json!("then") };
        json!({"id": id, "over": over, "what": self.value(), "n": self.below(3)})
    }
}

fn ids(items: &[Value]) -> Vec<u64> {
    items.iter().map(|item| item["id"].as_u64().unwrap()).collect()
}

fn page(only: &[&str], sort: Option<&str>, limit: Option<u64>, after: Option<String>) -> Page {
    let only = Some(only.iter().map(|one| (*one).to_owned()).collect());
    Page { only, sort: sort.map(str::to_owned), limit, after }
}

fn refused(page: Page, items: Vec<Value>) -> Error {
    cut(ORDER, &page, items).err().unwrap()
}

const SORTS: &[Option<&str>] = &[None, Some("what"), Some("-what"), Some("n"), Some("-n"), Some("-over")];

#[test]
fn pages_together_are_the_sorted_whole() {
    let mut random = Random(7);
    for round in 0..500 {
        let items: Vec<Value> = (0..random.below(30)).map(|id| random.item(id)).collect();
        let sort = SORTS[round % SORTS.len()];
        let only = if random.below(2) == 0 { &[][..] } else { &["n=1"][..] };
        let (whole, next) = cut(ORDER, &page(only, sort, None, None), items.clone()).unwrap();
        assert_eq!(next, None);
        let mut expected = items.clone();
        expected.retain(|item| only.is_empty() || item["n"] == 1);
        expected.sort_by_key(|item| (!item["over"].is_null(), u64::MAX - item["id"].as_u64().unwrap()));
        if let Some("n" | "-n") = sort {
            let down = sort == Some("-n");
            let n = |item: &Value| item["n"].as_i64().unwrap();
            expected.sort_by_key(|item| if down { -n(item) } else { n(item) });
        }
        if sort.is_none_or(|sort| sort.ends_with('n')) {
            assert_eq!(whole, expected, "{sort:?}");
        }
        let (limit, mut after, mut paged) = (random.below(7) + 1, None, Vec::new());
        loop {
            let (part, next) = cut(ORDER, &page(only, sort, Some(limit), after), items.clone()).unwrap();
            assert!(part.len() as u64 == limit || next.is_none());
            paged.extend(part);
            after = next;
            let Some(next) = &after else { break };
            assert!(next.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        }
        assert_eq!(ids(&paged), ids(&whole), "{sort:?}");
    }
}

#[test]
fn what_comes_and_goes_meanwhile_hides_and_repeats_nothing_else() {
    let mut random = Random(11);
    for round in 0..300 {
        let mut items: Vec<Value> = (0..20).map(|id| random.item(id)).collect();
        let sort = SORTS[round % SORTS.len()];
        let lasting: Vec<u64> = (0..20).filter(|id| id % 3 != 0).collect();
        let (mut after, mut seen, mut new) = (None, Vec::new(), 100);
        loop {
            let (part, next) = cut(ORDER, &page(&[], sort, Some(3), after), items.clone()).unwrap();
            seen.extend(ids(&part));
            after = next;
            if after.is_none() {
                break;
            }
            // Others go, one of which may be what the cursor was made of, and some come.
            let gone = random.below(7) * 3;
            items.retain(|item| item["id"] != gone);
            if new < 110 {
                items.insert(0, random.item(new));
                new += 1;
            }
        }
        let mut once = seen.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "nothing is repeated");
        assert!(lasting.iter().all(|id| seen.contains(id)), "nothing is hidden");
    }
}

#[test]
fn numbers_are_numbers_texts_are_texts_and_what_is_null_is_last() {
    let items: Vec<Value> = [json!("b"), json!(10), Value::Null, json!(9), json!("B"), json!(true)]
        .into_iter()
        .enumerate()
        .map(|(id, what)| json!({"id": id, "over": null, "what": what}))
        .collect();
    let sorted = |sort| ids(&cut(&["id"], &page(&[], Some(sort), None, None), items.clone()).unwrap().0);
    assert_eq!(sorted("what"), [5, 3, 1, 4, 0, 2]);
    assert_eq!(sorted("-what"), [0, 4, 1, 3, 5, 2]);
}

#[test]
fn a_star_is_any_text() {
    for (pattern, text, is) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("*", "a=b", true),
        ("web", "web", true),
        ("web", "web1", false),
        ("web*", "web", true),
        ("web*", "aweb", false),
        ("*web", "aweb", true),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("a*b*c", "a1b2b3c", true),
        ("a*b*c", "acb", false),
        ("*ab*ab*", "ab", false),
        ("**ö*", "xöy", true),
    ] {
        assert_eq!(is_like(pattern, text), is, "{pattern} {text}");
    }
}

#[test]
fn conditions_combine_and_compare_what_json_shows() {
    let items = vec![
        json!({"id": 1, "over": null, "what": true, "n": 12}),
        json!({"id": 2, "over": "then", "what": "true", "n": 1}),
        json!({"id": 3, "over": null, "what": "a=b", "n": 123}),
    ];
    let found = |only: &[&str]| ids(&cut(&["id"], &page(only, None, None, None), items.clone()).unwrap().0);
    assert_eq!(found(&["over="]), [1, 3]);
    assert_eq!(found(&["what=true"]), [1, 2]);
    assert_eq!(found(&["n=12*", "what=*"]), [1, 3]);
    assert_eq!(found(&["n=12*", "what=a=b"]), [3]);
    assert_eq!(found(&["what=tru"]), [0; 0]);
}

#[test]
fn what_is_wrong_names_the_field_and_what_there_is() {
    let items = || vec![json!({"id": 1, "over": null, "state": "x"})];
    let told = |page: Page| {
        let error = refused(page, items());
        (
            error.message().to_owned(),
            error.hint_text().unwrap_or("").to_owned(),
            error.field_name().map(str::to_owned),
        )
    };
    let expected = |message: &str, hint: &str, field: &str| {
        (message.to_owned(), hint.to_owned(), Some(field.to_owned()))
    };
    assert_eq!(
        told(page(&["stat=x"], None, None, None)),
        expected(
            "where takes a member of this list, not 'stat'",
            "did you mean 'state'? there are id, over, state",
            "where"
        )
    );
    assert_eq!(
        told(page(&[], Some("-nothing"), None, None)),
        expected("sort takes a member of this list, not 'nothing'", "there are id, over, state", "sort")
    );
    assert_eq!(
        told(page(&["state"], None, None, None)).0,
        "where takes MEMBER=VALUE, not 'state'".to_owned()
    );
    for limit in [0, 1001, u64::MAX] {
        assert_eq!(told(page(&[], None, Some(limit), None)).2.as_deref(), Some("limit"));
    }
    let many = vec!["id=1"; CONDITIONS_MAX + 1];
    let long = format!("id={}", "x".repeat(CONDITION_MAX));
    assert_eq!(told(page(&many, None, None, None)).2.as_deref(), Some("where"));
    assert_eq!(told(page(&[&long], None, None, None)).2.as_deref(), Some("where"));
    let (_, next) = cut(ORDER, &page(&[], None, Some(1), None), vec![items().remove(0); 2]).unwrap();
    let next = next.unwrap();
    for (sort, after) in [(None, "x"), (None, "!"), (None, ""), (Some("id"), next.as_str())] {
        let after = Some(after.to_owned());
        assert_eq!(told(page(&[], sort, None, after)).2.as_deref(), Some("after"));
    }
    // Of an empty list nothing is known.
    assert_eq!(cut(ORDER, &page(&["stat=x"], Some("y"), Some(1), None), vec![]).unwrap(), (vec![], None));
}

#[test]
fn long_texts_make_short_cursors() {
    let item = |id: u64| json!({"id": id, "over": "é".repeat(60_000)});
    let items = || (0..5).map(item).collect();
    let (first, next) = cut(&["id"], &page(&[], Some("over"), Some(2), None), items()).unwrap();
    assert!(next.as_ref().unwrap().len() < 1000);
    let (rest, _) = cut(&["id"], &page(&[], Some("over"), None, next), items()).unwrap();
    assert_eq!((ids(&first), ids(&rest)), (vec![0, 1], vec![2, 3, 4]));
}

#[test]
fn only_lists_have_pages_and_only_when_asked() {
    let answer = || r#"{"apps":[{"name":"a","network":"n"}]}"#.to_owned();
    for (event, payload) in
        [("app:list", "{}"), ("app:list", r#"{"page":null}"#), ("app:status", r#"{"page":{}}"#)]
    {
        assert_eq!(of(event, payload, answer()).unwrap(), answer());
    }
    let paged = of("app:list", r#"{"page":{}}"#, answer()).unwrap();
    assert_eq!(paged, r#"{"apps":[{"name":"a","network":"n"}],"next":null}"#);
    for payload in [r#"{"page":1}"#, r#"{"page":{"where":"x"}}"#, r#"{"page":{"limit":-1}}"#] {
        let error = of("app:list", payload, answer()).err().unwrap();
        assert_eq!((error.kind(), error.field_name()), (Kind::Usage, Some("page")));
    }
}

#[test]
fn every_list_has_pages_here_or_of_its_own() {
    let requests = include_str!("../control.rs").lines().filter_map(|line| line.trim().strip_prefix('"'));
    let lists = requests.filter_map(|line| line.split_once("\" =>")).map(|cut| cut.0);
    let mut lists: Vec<&str> = lists.filter(|event| event.ends_with(":list")).collect();
    // Its pages begin behind a number.
    lists.retain(|event| *event != "audit:list");
    lists.sort_unstable();
    let mut known: Vec<&str> = LISTS.iter().map(|list| list.0).collect();
    known.sort_unstable();
    assert_eq!(known, lists);
}
