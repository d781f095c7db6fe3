//! Every parameter by situation: what it becomes, or which error it is.

use super::*;

fn shown<T: std::fmt::Debug>(result: Result<T, Problem>, pick: impl Fn(T) -> String) -> String {
    match result {
        Ok(value) => pick(value),
        Err(problem) => match problem.members.get("parameter") {
            Some(name) => format!("{} {}", problem.code.word(), name.as_str().unwrap_or_default()),
            None => problem.code.word().to_owned(),
        },
    }
}

fn ms(time: Option<ValidTime>) -> String {
    time.map_or("none".to_owned(), |time| time.millis().to_string())
}

// Times: the plus sign survives forms, the shape is strict, the range is the key's.
#[test]
fn times() {
    let table = [
        ("from=1970-01-01T00:00:00Z", "0"),
        ("from=1970-01-01T12:00:00%2B12:00", "0"),
        ("from=1970-01-01T12:00:00+12:00", "0"),
        ("from=1970-01-01T12:00:00%2012:00", "0"),
        ("from=1969-12-31T23:59:59.001-01:00", "3599001"),
        ("from=2106-02-07T06:28:15.999Z", "4294967295999"),
        ("from=2106-02-07T06:28:16Z", "time_range from"),
        ("from=1969-12-31T23:59:59.999Z", "time_range from"),
        ("from=2026-05-01", "bad_parameter from"),
        ("from=2026-05-01T10:00Z", "bad_parameter from"),
        ("from=2026-05-01T10:00:00", "bad_parameter from"),
        ("from=2026-05-01T10:00:00.Z", "bad_parameter from"),
        ("from=2026-02-30T10:00:00Z", "bad_parameter from"),
        ("from=20260501T100000Z", "bad_parameter from"),
        ("from=2026-05-01T10:00:00Z[UTC]", "bad_parameter from"),
        ("from=", "bad_parameter from"),
        ("from=now", "bad_parameter from"),
    ];
    for (query, expected) in table {
        let found = shown(feed(Some(query), &Settings::default()), |query| ms(query.from));
        assert_eq!(found, expected, "{query}");
    }
}

// The feed's parameters: only known ones, once, whole numbers within their limits; vv may be there twice.
#[test]
fn feed_parameters() {
    let table = [
        ("", "[] None None None None"),
        ("&&", "[] None None None None"),
        ("vv=a&vv=b&vv=", r#"["a", "b", ""] None None None None"#),
        ("vv=0123456789abcdef:1-80~9f3c21aa", r#"["0123456789abcdef:1-80~9f3c21aa"] None None None None"#),
        ("limit=1&max_bytes=1&cursor=x&type=add", r#"[] Some("x") Some(1) Some(1) Some("add")"#),
        ("limit=10000", "[] None Some(10000) None None"),
        ("limit=10001", "bad_parameter limit"),
        ("limit=0", "bad_parameter limit"),
        ("limit=-1", "bad_parameter limit"),
        ("limit=%2B1", "bad_parameter limit"),
        ("limit=1e3", "bad_parameter limit"),
        ("limit=99999999999999999999", "bad_parameter limit"),
        ("limit", "bad_parameter limit"),
        ("limit=1&limit=1", "bad_parameter limit"),
        ("max_bytes=0", "bad_parameter max_bytes"),
        ("cursor=a&cursor=b", "bad_parameter cursor"),
        ("cursor=%zz", "bad_parameter cursor"),
        ("cursor=%f", "bad_parameter cursor"),
        ("cursor=%ff", "bad_parameter cursor"),
        ("Limit=1", "bad_parameter Limit"),
        ("since=1", "bad_parameter since"),
        ("%6cimit=7", "[] None Some(7) None None"),
    ];
    for (query, expected) in table {
        let found = shown(feed(Some(query), &Settings::default()), |q| {
            format!("{:?} {:?} {:?} {:?} {:?}", q.vv, q.cursor, q.limit, q.max_bytes, q.type_)
        });
        assert_eq!(found, expected, "{query}");
    }
}

// A view is asked for one key or for a list, not for both; `known` is a time or a vv.
#[test]
fn view_parameters() {
    let table = [
        ("key=P1", r#"["P1"] [] None None None"#),
        ("key=docket+8817&key=a%26b%2Bc", r#"["docket 8817", "a&b+c"] [] None None None"#),
        ("prefix=a&prefix=b&limit=5", r#"[] ["a", "b"] Some(5) None None"#),
        ("known=1970-01-01T00:00:00+00:00", "[] [] None Some(At(ValidTime(0))) None"),
        ("known=0123456789abcdef:1-2", r#"[] [] None Some(Vv("0123456789abcdef:1-2")) None"#),
        ("known=1970-01-01", "bad_parameter known"),
        ("group=1", "[] [] None None Some(1)"),
        ("group=0", "bad_parameter group"),
        ("key=P1&limit=5", "bad_parameter limit"),
        ("key=P1&prefix=P", "bad_parameter prefix"),
        ("key=P1&cursor=x", "bad_parameter cursor"),
        ("at=yesterday", "bad_parameter at"),
        ("vv=a", "bad_parameter vv"),
    ];
    for (query, expected) in table {
        let asked = view(Some(query), &Settings::default());
        let found = shown(asked.and_then(|query| query.refuse_others().map(|()| query)), |q| {
            format!("{:?} {:?} {:?} {:?} {:?}", q.keys, q.prefix, q.limit, q.known, q.group)
        });
        assert_eq!(found, expected, "{query}");
    }
}

// What a View refuses may be a Report's own: it is handed on in order, repeated or not, but it has to decode.
#[test]
fn parameters_of_a_report() {
    let others = |text| view(Some(text), &Settings::default()).map(|query| query.others);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(others("b=2&key=k&a=1+x&b="), Ok(vec![pair("b", "2"), pair("a", "1 x"), pair("b", "")]));
    assert_eq!(others("a=%ff").map_err(|problem| problem.code), Err(Code::BadParameter));
}

// The small routes: booleans are words, and a route without parameters takes none.
#[test]
fn flags() {
    let table = [
        (None, "true None"),
        (Some("atomic=false"), "false None"),
        (Some("atomic=true&format=epcis"), r#"true Some("epcis")"#),
        (Some("atomic=0"), "bad_parameter atomic"),
        (Some("atomic"), "bad_parameter atomic"),
        (Some("atomic=true&atomic=true"), "bad_parameter atomic"),
        (Some("format="), "bad_parameter format"),
        (Some("dry_run=1"), "bad_parameter dry_run"),
        (Some("format=a+b"), "bad_parameter format"),
    ];
    for (query, expected) in table {
        assert_eq!(shown(admit(query), |q| format!("{} {:?}", q.atomic, q.format)), expected, "{query:?}");
    }
    assert_eq!(shown(reload(None), |wait| wait.to_string()), "true");
    assert_eq!(shown(reload(Some("wait=false")), |wait| wait.to_string()), "false");
    assert_eq!(shown(none(Some("x=1")), |()| String::new()), "bad_parameter x");
}

// A body of changes says the same as a query string, and is as strict.
#[test]
fn changes_are_the_feed_as_json() {
    let body = br#" {"vv":["a","b"],"cursor":"c","limit":7,"max_bytes":9,"from":"1970-01-01T12:00:00+12:00",
        "to":"1970-01-01T00:00:01Z","type":3}"#;
    let query = "vv=a&vv=b&cursor=c&limit=7&max_bytes=9&from=1970-01-01T12:00:00+12:00\
        &to=1970-01-01T00:00:01Z&type=3";
    let settings = Settings::default();
    assert_eq!(changes(body, &settings), feed(Some(query), &settings));
    let table = [
        ("{}", "ok"),
        (r#"{"vv":"a"}"#, "ok"),
        ("", "bad_json"),
        ("[]", "bad_json"),
        ("{", "bad_json"),
        ("{} x", "bad_json"),
        (r#"{"vv":1}"#, "bad_parameter"),
        (r#"{"since":1}"#, "bad_parameter"),
        (r#"{"limit":1,"limit":1}"#, "bad_parameter"),
        (r#"{"limit":0}"#, "bad_parameter limit"),
        (r#"{"limit":1.5}"#, "bad_parameter"),
        (r#"{"from":"x"}"#, "bad_parameter from"),
        (r#"{"from":"1969-01-01T00:00:00Z"}"#, "time_range from"),
    ];
    for (body, expected) in table {
        assert_eq!(shown(changes(body.as_bytes(), &settings), |_| "ok".to_owned()), expected, "{body}");
    }
}
