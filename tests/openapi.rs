//! The document of the interface is true: a running server has every operation and parameter of it and no other, and
//! whatever it answers in the stories of all suites is what the document says.

use laterbase_tests::{Answer, Client, Server, play_telling, top};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The document of a server.
struct Document(Value);

impl Document {
    fn of(server: &Server) -> Self {
        let answer = server.get("/_/openapi.json").expect("an answer");
        assert_eq!(answer.status, 200);
        Self(answer.json())
    }

    fn paths(&self) -> &Map<String, Value> {
        self.0["paths"].as_object().expect("paths")
    }

    /// Every operation: path, method, description.
    fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let mut found = Vec::new();
        for (path, item) in self.paths() {
            for (method, about) in item.as_object().expect("methods") {
                found.push((path.as_str(), method.as_str(), about));
            }
        }
        found
    }

    /// The operation of a request: a path that stands there as it is goes before one with names left open.
    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let method = if method == "HEAD" { "get".to_owned() } else { method.to_ascii_lowercase() };
        let paths = self.paths();
        let exact = paths.get_key_value(path);
        let open = || paths.iter().find(|(pattern, _)| pattern.contains('{') && matches(pattern, path));
        let (pattern, item) = exact.or_else(open)?;
        item.get(&method).map(|about| (pattern.as_str(), about))
    }

    /// A validator of the schema of one kind of answer; `true` where the document has none.
    fn validator(&self, answer: &Value) -> jsonschema::Validator {
        let mut schema = answer.get("schema").cloned().unwrap_or_else(|| json!({}));
        schema["components"] = self.0["components"].clone();
        jsonschema::validator_for(&schema).expect("a schema")
    }
}

/// Whether the path is one of the pattern; names under `/_/` are not roots.
fn matches(pattern: &str, path: &str) -> bool {
    let (open, given): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    let fits = |(open, given): (&&str, &&str)| {
        open == given || (open.starts_with('{') && !given.is_empty() && *given != "_" && *given != "e")
    };
    open.len() == given.len() && open.iter().zip(&given).all(fits)
}

/// What stands in the place of open names in a request.
fn filled(path: &str) -> String {
    path.replace("{root}", "tally").replace("{view}", "total").replace("{name}", "tally")
}

/// A request without a body that says what it does not.
fn ask(client: &mut Client, server: &Server, method: &str, target: &str) -> Answer {
    let answer = client.send(&method.to_uppercase(), target, &[], b"");
    let answer = answer.unwrap_or_else(|fault| panic!("{method} {target}: {fault:#}"));
    if answer.header("connection") == Some("close") {
        *client = server.client().expect("a connection");
    }
    answer
}

// Goal: the document has the operations of the server and no other. Method: each path is asked which methods it has;
// what plugins offer stands there by name.
#[test]
fn every_operation_is_there() {
    let server = Server::start(&[]).expect("a server");
    let document = Document::of(&server);
    let mut client = server.client().expect("a connection");
    for (path, item) in document.paths() {
        let options = ask(&mut client, &server, "OPTIONS", &filled(path));
        let allowed: BTreeSet<String> = options
            .header("allow")
            .unwrap_or_else(|| panic!("{path}: {}", options.status))
            .split(", ")
            .filter(|method| !matches!(*method, "HEAD" | "OPTIONS"))
            .map(str::to_ascii_lowercase)
            .collect();
        let documented: BTreeSet<String> = item.as_object().expect("methods").keys().cloned().collect();
        assert_eq!(documented, allowed, "{path}");
    }
    let roots = server.get("/_/plugins").expect("an answer").json();
    let mut named = 0;
    for root in
        roots["plugins"].as_array().expect("plugins").iter().filter_map(|it| it["roots"].as_array()).flatten()
    {
        let name = root["root"].as_str().expect("a name");
        for kind in ["views", "reports"] {
            for view in root[kind].as_array().expect("names") {
                let path = format!("/{name}/{}", view.as_str().expect("a name"));
                assert!(document.paths().contains_key(&path), "{path}");
                named += 1;
            }
        }
        let post = &document.paths()[&format!("/{name}/e")]["post"];
        let parameters = post["parameters"].as_array().expect("parameters");
        let format = parameters.iter().find(|parameter| parameter["name"] == "format");
        let formats = format.map_or(json!([]), |format| format["schema"]["enum"].clone());
        assert_eq!(formats, root["formats"], "{name}");
    }
    assert!(named >= 15, "{named} views and reports");
}

/// A value that a parameter takes.
fn sample(parameter: &Value) -> String {
    let schema = &parameter["schema"];
    match (schema["type"].as_str(), schema["format"].as_str(), parameter["name"].as_str()) {
        (_, Some("date-time"), _) => "2026-05-01T10:00:00Z".to_owned(),
        (Some("integer"), ..) | (_, _, Some("type")) => "1".to_owned(),
        (Some("boolean"), ..) => "false".to_owned(),
        (_, _, Some("known" | "vv" | "digest")) => String::new(),
        (_, _, Some("changes")) => "0.0000000000000000".to_owned(),
        _ => "x".to_owned(),
    }
}

// Goal: every documented parameter is known to the server, more than once only where the document says so, and any
// other is refused. Method: one request a parameter; whatever is answered, it is not that the route does not know it.
#[test]
fn every_parameter_is_there() {
    let server = Server::start(&[]).expect("a server");
    let document = Document::of(&server);
    let mut asked = 0;
    for (path, method, about) in document.operations() {
        let target = filled(path);
        let strange = |name: &str, value: &str| {
            // A stream has no end: each request has a connection of its own.
            let mut client = server.client().expect("a connection");
            let target = format!("{target}?{name}={value}");
            if name == "changes" {
                let answer = client.stream(&target, &[]).expect("a head");
                return (answer.status, Value::Null);
            }
            let answer = ask(&mut client, &server, method, &target);
            (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
        };
        let unknown = |(status, body): &(u16, Value), name: &str| {
            let detail = body["detail"].as_str().unwrap_or_default();
            *status == 400 && body["parameter"] == name && detail.contains("does not know")
        };
        let is_report = is_report(about);
        let answer = strange("zzz", "1");
        assert!(
            unknown(&answer, "zzz") || is_report || answer.1["code"] == "unsupported_media_type",
            "{method} {path}: {answer:?}"
        );
        for parameter in about["parameters"].as_array().expect("parameters") {
            if parameter["in"] != "query" {
                continue;
            }
            let (name, value) = (parameter["name"].as_str().expect("a name"), sample(parameter));
            assert!(!unknown(&strange(name, &value), name), "{method} {path}: {name}");
            if name != "changes" {
                let twice = strange(name, &format!("{value}&{name}={value}"));
                let refused =
                    twice.1["detail"].as_str().is_some_and(|detail| detail.contains("more than once"));
                assert_eq!(
                    refused,
                    parameter["schema"]["type"] != "array",
                    "{method} {path}: {name} twice: {twice:?}"
                );
            }
            asked += 1;
        }
    }
    assert!(asked > 100, "{asked} parameters");
}

/// Reports have parameters of their own, so none is strange to them. They are asked by key, and have no digests.
fn is_report(about: &Value) -> bool {
    let parameters = about["parameters"].as_array().expect("parameters");
    let has = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
    has("key") && !has("digest")
}

/// Asserts that the document says what was answered; the operation, if the request has one.
fn check(document: &Document, asked: &str, answer: &Answer) -> Option<String> {
    let (method, target) = asked.split_once(' ').expect("METHOD TARGET");
    let path = target.split('?').next().unwrap_or_default();
    let media = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let Some((pattern, about)) = document.operation(method, path) else {
        let code = answer.json()["code"].clone();
        let is_none =
            [json!("unknown_route"), json!("bad_name"), json!("method_not_allowed")].contains(&code);
        assert!(is_none || method == "OPTIONS", "{asked}: {} {}", answer.status, answer.text());
        return None;
    };
    let response = &about["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{asked}: {} is not documented: {}", answer.status, answer.text());
    if answer.body.is_empty() || method == "HEAD" {
        return Some(format!("{method} {pattern}"));
    }
    let content = response["content"].as_object().unwrap_or_else(|| panic!("{asked}: a body"));
    let described = content.get(media).unwrap_or_else(|| panic!("{asked}: {media} is not documented"));
    if described.get("schema").is_some() {
        let body = answer.json();
        let faults: Vec<String> = document
            .validator(described)
            .iter_errors(&body)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{asked}: {}\n{}", answer.text(), faults.join("\n"));
    }
    Some(format!("{method} {pattern}"))
}

// Goal: whatever is answered has a status, media type, code and form that the document says. Method: every script of
// the project and of its plugins is played, and each of its answers checked against the document of that server.
#[test]
fn every_answer_of_the_stories_is_documented() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for folder in ["tests/scripts", "plugins/tally/scripts", "plugins/epcis/scripts"] {
        let mut scripts: Vec<_> = fs::read_dir(top().join(folder))
            .expect("scripts")
            .map(|file| file.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|end| end == "txt"))
            .collect();
        scripts.sort();
        for script in scripts {
            let text = fs::read_to_string(&script).expect("UTF-8");
            let mut server = Server::start(&[]).expect("a server");
            let document = Document::of(&server);
            let told = &mut |asked: &str, answer: &Answer| {
                if let Some(operation) = check(&document, asked, answer) {
                    *seen.entry(operation).or_default() += 1;
                }
            };
            play_telling(&mut server, &text, told)
                .unwrap_or_else(|fault| panic!("{}: {fault:#}", script.display()));
        }
    }
    assert!(seen.values().sum::<u32>() > 200, "{seen:?}");
    assert!(seen.len() > 15, "{seen:?}");
}

// Goal: what no story asks is true, too. Method: every operation that is read, once.
#[test]
fn every_operation_answers_as_documented() {
    let server = Server::start(&[]).expect("a server");
    let event = r#"{"type":"add","time":"2026-05-01T10:00:00Z","id":"1","data":{"item":"apples","n":1}}"#;
    assert_eq!(server.post("/tally/e", event).expect("an answer").status, 201);
    let document = Document::of(&server);
    let mut client = server.client().expect("a connection");
    for (path, method, _) in document.operations() {
        if method == "get" {
            let answer = ask(&mut client, &server, method, &filled(path));
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            check(&document, &format!("GET {}", filled(path)), &answer);
        }
    }
    for (target, body) in [
        ("/tally/e/changes", r#"{"limit":1}"#),
        ("/_/verify/tally", "{}"),
        ("/_/plugins/tally/reload", ""),
        ("/tally/e", "[]"),
    ] {
        check(&document, &format!("POST {target}"), &server.post(target, body).expect("an answer"));
    }
    for target in ["/tally/total?key=apples", "/tally/total?digest", "/tally/total?key=none", "/tally/none"] {
        check(&document, &format!("GET {target}"), &server.get(target).expect("an answer"));
    }
}

// Goal: the page needs nothing from elsewhere and may not load it: it works where there is no network, and no text of
// the document can become code. Method: its files.
#[test]
fn the_page_stands_alone() {
    let server = Server::start(&[]).expect("a server");
    let get = |path: &str| server.get(path).expect("an answer");
    let page = get("/_/docs");
    let policy = page.header("content-security-policy").expect("a policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
    ] {
        assert!(policy.split("; ").any(|known| known == rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let (style, script) = (get("/_/docs/page.css"), get("/_/docs/page.js"));
    for file in [&page, &style, &script] {
        let text = file.text();
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        for word in ["http://", "https://", "@import", "url(", "innerHTML", "eval(", "style=\"", "onclick=\""]
        {
            assert!(!text.contains(word), "{word}");
        }
    }
    let referred = |attribute: &str| {
        let parts = page.text().split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(referred("src=\""), ["/_/docs/page.js"]);
    assert_eq!(referred("href=\""), ["/_/docs/page.css", "#operation", "/_/openapi.json"]);
    assert!(page.text().contains("lang=\"en\"") && style.text().contains("prefers-color-scheme: dark"));
}
