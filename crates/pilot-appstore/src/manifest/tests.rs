use super::*;
use crate::testing::{DRAFT, secret};

fn signed_text() -> String {
    let hash = "ab".repeat(32);
    let key = secret(1).public();
    format!("publisher = \"{key}\"\n{DRAFT}\n[files]\n\"bin/echo\" = \"{hash}\"\n")
}

#[test]
fn a_manifest_is_read_whole() {
    let manifest = Manifest::parse(&signed_text()).unwrap();
    assert_eq!(manifest.id.short(), "echo");
    assert_eq!(manifest.version, Version::new(1, 2, 0));
    assert_eq!(manifest.asked(), BTreeSet::from([Grant::Libs]));
    assert_eq!(manifest.limits, Limits::default());
    let say: MethodName = "say".parse().unwrap();
    let params = &manifest.methods[&say].params;
    assert!(params.check(&serde_json::json!({"text": "x"})).is_ok());
}

#[test]
fn a_wrong_field_is_named() {
    let text = signed_text();
    for (from, to, word) in [
        ("id = \"org.example.echo\"", "id = \"../x\"", "id"),
        ("1.2.0", "one", "version"),
        ("description = \"Says what it is told\"", "", "description"),
        ("Says what it is told", "", "description"),
        ("Says what it is told", "\\u001b[2J", "description"),
        ("entry = \"bin/echo\"", "entry = \"bin/other\"", "entry"),
        ("entry = \"bin/echo\"", "entry = \"../echo\"", "entry"),
        ("\"libs\"", "\"root\"", "grants[0].grant"),
        (
            "{ type = \"object\" }",
            "{ type = \"thing\" }",
            "methods.say.result",
        ),
        ("{ type = \"object\" }", "7", "methods.say.result"),
        ("[methods.say]", "[methods.help]", "methods.help"),
        ("licence", "license", "license"),
        (
            "[[grants]]",
            "[limits]\nmemory_mb = 1\n[[grants]]",
            "limits.memory_mb",
        ),
        ("[[grants]]", "[limits]\nmemory = 64\n[[grants]]", "limits"),
        ("\"ab", "\"xy", "files"),
        (
            "summary = \"Says it\"",
            "summary = \"x\"\nlatency = \"soon\"",
            "methods.say.latency",
        ),
        ("publisher = \"", "publisher = \"00", "publisher"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Manifest::parse(&text.replace(from, to)).unwrap_err();
        assert!(error.to_string().contains(word), "{to}: {error}");
    }
}

#[test]
fn grants_are_asked_for_once() {
    let twice = "[[grants]]\ngrant = \"libs\"\nreason = \"x\"\n[files]";
    let error = Manifest::parse(&signed_text().replace("[files]", twice)).unwrap_err();
    assert!(
        error.to_string().contains("grants[1]: libs is there twice"),
        "{error}"
    );
}

#[test]
fn the_documented_schema_says_the_same() {
    let page = include_str!("../../../../docs/apps.md");
    let schema = page.split("```json\n{\n  \"$schema\"").nth(1).unwrap();
    let schema = format!("{{\n  \"$schema\"{}", schema.split("```").next().unwrap());
    let schema = Schema::new(serde_json::from_str(&schema).unwrap()).unwrap();
    let value = |text: &str| toml::from_str::<Value>(text).unwrap();
    assert_eq!(schema.check(&value(&signed_text())), Ok(()));
    for (from, to) in [
        ("\"libs\"", "\"net:*.example.org:*\""),
        ("\"libs\"", "\"net:[::1]:80\""),
        ("\"libs\"", "\"read:*\""),
        ("\"libs\"", "\"data\"\noptional = true"),
        ("\"libs\"", "\"overlay:*:7\""),
        (
            "[[grants]]",
            "[limits]\nconnections = 64\nthreads = 16\n[[grants]]",
        ),
        ("licence =", "adapter = \"http\"\nlicence ="),
        (
            "licence =",
            "targets = [\"x86_64-linux\", \"aarch64-linux\"]\nlicence =",
        ),
        (
            "summary = \"Says it\"",
            "summary = \"x\"\nlatency = \"slow\"",
        ),
    ] {
        let text = signed_text().replace(from, to);
        assert_eq!(schema.check(&value(&text)), Ok(()), "{to}");
        assert!(Manifest::parse(&text).is_ok(), "{to}");
    }
    for (from, to) in [
        ("org.example.echo", "../x"),
        ("\"libs\"", "\"root\""),
        ("licence", "license"),
        ("[methods.say]", "[methods.Say]"),
        ("entry = \"bin/echo\"", "entry = \"../echo\""),
        ("[[grants]]", "[limits]\nmemory_mb = 1\n[[grants]]"),
        ("[[grants]]", "[limits]\nconnections = 65\n[[grants]]"),
        ("[[grants]]", "[limits]\nthreads = 17\n[[grants]]"),
        ("licence =", "targets = [\"Linux\"]\nlicence ="),
        ("licence =", "adapter = \"ftp\"\nlicence ="),
        ("\"libs\"", "\"net:a.example:70000x\""),
        ("\"libs\"", "\"write:*\""),
        ("\"libs\"", "\"overlay:worker\""),
        (
            "summary = \"Says it\"",
            "summary = \"x\"\nlatency = \"soon\"",
        ),
    ] {
        let text = signed_text().replace(from, to);
        assert!(schema.check(&value(&text)).is_err(), "{to}");
        assert!(Manifest::parse(&text).is_err(), "{to}");
    }
}
