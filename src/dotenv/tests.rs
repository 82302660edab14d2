//! Tables after the test cases of the reference implementations.

#![allow(clippy::unwrap_used)]
use super::*;

fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    Ok(parse(text)?.into_iter().map(|one| (one.name, one.value)).collect())
}

/// Each line on its own has this value.
#[track_caller]
fn all(table: &[(&str, &str)]) {
    for (line, value) in table {
        let found = pairs(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert_eq!(found[0].1, *value, "{line}");
    }
}

/// motdotla/dotenv, tests/.env, tests/.env-multiline and test-parse.js. Where it differs is
/// told at the line.
#[test]
fn what_motdotla_dotenv_reads() {
    all(&[
        ("BASIC=basic", "basic"),
        ("\n# previous line intentionally left blank\nAFTER_LINE=after_line", "after_line"),
        ("EMPTY=", ""),
        ("EMPTY_SINGLE_QUOTES=''", ""),
        ("EMPTY_DOUBLE_QUOTES=\"\"", ""),
        ("EMPTY_BACKTICKS=``", ""),
        ("SINGLE_QUOTES='single_quotes'", "single_quotes"),
        ("SINGLE_QUOTES_SPACED='    single quotes    '", "    single quotes    "),
        ("DOUBLE_QUOTES=\"double_quotes\"", "double_quotes"),
        ("DOUBLE_QUOTES_SPACED=\"    double quotes    \"", "    double quotes    "),
        ("A='double \"quotes\" work inside single quotes'", "double \"quotes\" work inside single quotes"),
        ("A=\"single 'quotes' work inside double quotes\"", "single 'quotes' work inside double quotes"),
        ("A=\"{ port: $MONGOLAB_PORT}\"", "{ port: $MONGOLAB_PORT}"),
        ("A='{ port: $MONGOLAB_PORT}'", "{ port: $MONGOLAB_PORT}"),
        ("BACKTICKS=`backticks`", "backticks"),
        ("BACKTICKS_SPACED=`    backticks    `", "    backticks    "),
        ("A=`double \"quotes\" and single 'quotes'`", "double \"quotes\" and single 'quotes'"),
        ("EXPAND_NEWLINES=\"expand\\nnew\\nlines\"", "expand\nnew\nlines"),
        ("DONT_EXPAND_UNQUOTED=dontexpand\\nnewlines", "dontexpand\\nnewlines"),
        ("DONT_EXPAND_SQUOTED='dontexpand\\nnewlines'", "dontexpand\\nnewlines"),
        ("# COMMENTS=work\nA=1", "1"),
        ("INLINE_COMMENTS=inline comments # work #very #well", "inline comments"),
        ("A='inline comments outside of #singlequotes' # work", "inline comments outside of #singlequotes"),
        ("A=\"inline comments outside of #doublequotes\" # work", "inline comments outside of #doublequotes"),
        ("A=`inline comments outside of #backticks` # work", "inline comments outside of #backticks"),
        // motdotla: `inline comments start with a`.
        ("A=inline comments start with a#number sign", "inline comments start with a#number sign"),
        ("EQUAL_SIGNS=equals==", "equals=="),
        ("RETAIN_INNER_QUOTES={\"foo\": \"bar\"}", "{\"foo\": \"bar\"}"),
        ("RETAIN_INNER_QUOTES_AS_STRING='{\"foo\": \"bar\"}'", "{\"foo\": \"bar\"}"),
        ("TRIM_SPACE_FROM_UNQUOTED=    some spaced out string", "some spaced out string"),
        ("USERNAME=therealnerdybeast@example.tld", "therealnerdybeast@example.tld"),
        ("    SPACED_KEY = parsed", "parsed"),
        ("MULTI_DOUBLE_QUOTED=\"THIS\nIS\nA\nMULTILINE\nSTRING\"", "THIS\nIS\nA\nMULTILINE\nSTRING"),
        ("MULTI_SINGLE_QUOTED='THIS\nIS\nA\nMULTILINE\nSTRING'", "THIS\nIS\nA\nMULTILINE\nSTRING"),
        ("MULTI_BACKTICKED=`THIS\nIS\nA\n\"MULTILINE'S\"\nSTRING`", "THIS\nIS\nA\n\"MULTILINE'S\"\nSTRING"),
        ("YAML: style", "style"),
    ]);
    let expected = [("SERVER", "localhost"), ("PASSWORD", "password"), ("DB", "tests")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for end in ["\n", "\r", "\r\n"] {
        let text = format!("SERVER=localhost{end}PASSWORD=password{end}DB=tests{end}");
        assert_eq!(pairs(&text).unwrap(), expected);
    }
}

/// python-dotenv, tests/test_parser.py. Where it differs is told at the line.
#[test]
fn what_python_dotenv_reads() {
    all(&[
        ("a=b", "b"),
        ("'a'=b", "b"),
        (" a = b ", "b"),
        ("export a=b", "b"),
        (" export 'a'=b", "b"),
        ("export\ta=b", "b"),
        ("export=b", "b"),
        ("a=b#c", "b#c"),
        ("a=b #c", "b"),
        ("a= #c", ""),
        ("a=  # comment", ""),
        ("a=#b", "#b"),
        ("a=b\t#c", "b"),
        ("a=b c", "b c"),
        ("a=b\tc", "b\tc"),
        ("a=b  c", "b  c"),
        ("a=b\u{a0} c", "b\u{a0} c"),
        ("a=b c ", "b c"),
        ("a='b c '", "b c "),
        ("a=\"b c \"", "b c "),
        ("export export_a=1", "1"),
        ("export port=8000", "8000"),
        ("a=\"b\nc\"", "b\nc"),
        ("a='b\nc'", "b\nc"),
        ("a=\"b\\nc\"", "b\nc"),
        ("a='b\\nc'", "b\\nc"),
        ("a=\"b\\\"c\"", "b\"c"),
        ("a='b\\'c'", "b'c"),
        ("a=à", "à"),
        ("a=\"à\"", "à"),
        ("\u{feff}a=b", "b"),
        // Nothing is put in the place of a name: python-dotenv does.
        ("a=\"${b} $c\"", "${b} $c"),
        ("a=\"\\a\\b\\f\\v\\d\"", "\u{7}\u{8}\u{c}\u{b}\\d"),
        ("a=\"\\${b}\"", "${b}"),
    ]);
    for nothing in ["", "\n\n\n", "# a=b", "# comment 1\n# comment 2", " \t\r\n"] {
        assert_eq!(pairs(nothing).unwrap(), []);
    }
    let several = pairs("# comment\na=\"b\nc\"\nd=e\n\na=\nf='x' # y").unwrap();
    let several: Vec<_> = several.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(several, [("a", "b\nc"), ("d", "e"), ("a", ""), ("f", "x")]);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (text, message) in [
        ("a=1\nno_value_var", "line 2 is not of the form NAME=VALUE"),
        ("export\n", "line 1 is not of the form NAME=VALUE"),
        ("a=1\n\n# x\n=2", "line 4 is not of the form NAME=VALUE"),
        ("a='1\n2\n3'\r\nhttp://x", "line 4 is not of the form NAME=VALUE"),
        ("[=b", "line 1 is not of the form NAME=VALUE"),
        ("a=\"\nb=c", "line 1 begins a value of 'a' in \", which does not end"),
        ("x=1\ry='it", "line 2 begins a value of 'y' in ', which does not end"),
        ("a=\"b\nc\"d", "line 2 goes on behind the \" that ends 'a'"),
    ] {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!((error.message(), error.field_name()), (message, Some("text")), "{text}");
    }
}
