//! `openapi/v1.json` is what the code says. `SISTEMO_BLESS=1` rewrites it.

mod common;

use serde::de::DeserializeOwned;
use serde_json::Value;
use types::access::{ChangePassword, CreateToken, CreateUser, Login, Setup};
use types::image::PullImage;
use types::label::Edit;
use types::machine::{AttachVolume, CloneMachine, DeployMachine};
use types::pool::{CreatePool, MoveVolume, ResizePool};
use types::snapshot::{RestoreSnapshot, TakeSnapshot};
use types::volume::{CloneVolume, CreateVolume, ResizeVolume, Restore};

#[test]
fn the_checked_in_description_is_current() {
    let path = common::repository().join("openapi/v1.json");
    let text = sistemo::api::description().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("SISTEMO_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "the API has changed: review it with SISTEMO_BLESS=1 cargo test -p sistemo --test openapi"
    );
}

#[test]
fn operations_have_names_of_their_own_and_problems() {
    let api = serde_json::to_value(sistemo::api::description()).unwrap();
    let mut seen = std::collections::HashSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(seen.insert(id.to_owned()), "{id} twice");
            let problem = &operation["responses"]["default"];
            assert!(path == "/healthz" || problem.is_object(), "{method} {path}");
        }
    }
}

fn described() -> Value {
    serde_json::to_value(sistemo::api::description()).unwrap()
}

/// Every operation: its method, its path and what is said of it.
fn operations(api: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = api["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| (&**method, &**path, operation))
        })
        .collect()
}

/// The name of the schema of a content.
fn schema(content: &Value) -> &str {
    content["schema"]["$ref"].as_str().unwrap_or_default().rsplit('/').next().unwrap()
}

#[test]
fn every_operation_tells_how_it_is_refused() {
    let api = described();
    for (method, path, operation) in operations(&api) {
        let responses = operation["responses"].as_object().unwrap();
        let body = &operation["requestBody"]["content"]["application/json"];
        let mut parameters = operation["parameters"].as_array().into_iter().flatten();
        let conditional = parameters.any(|p| p["name"] == "If-Match");
        // Whoever asks there is not asked who it is.
        let open = operation["security"].is_array();
        let changes = method != "get";
        for (wanted, statuses) in [
            (true, &["421", "429", "500", "504", "default"][..]),
            (!open, &["401", "403"][..]),
            (changes, &["400", "403", "415", "503", "507"][..]),
            (path.contains('{'), &["400", "404"][..]),
            (body.is_object(), &["400", "408", "413"][..]),
            (conditional, &["412"][..]),
        ] {
            for status in statuses.iter().filter(|_| wanted) {
                assert!(responses.contains_key(*status), "{method} {path}: {status}");
            }
        }
        for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with(['1', '2'])) {
            let place = format!("{method} {path} {status}");
            let content = &response["content"]["application/problem+json"];
            assert_eq!(schema(content), "ProblemBody", "{place}");
            assert_ne!(response["description"], "", "{place}");
            let example = &content["example"];
            let code: types::Code = serde_json::from_value(example["code"].clone()).expect(&place);
            assert_eq!(example["type"], format!("urn:sistemo:code:{code}"), "{place}");
            assert!(example["detail"].is_string() && example["request_id"].is_string(), "{place}");
            if status != "default" {
                assert_eq!(example["status"].to_string(), *status, "{place}");
            }
        }
    }
}

fn understood<T: DeserializeOwned>(example: &Value) -> Result<(), String> {
    serde_json::from_value::<T>(example.clone()).map(drop).map_err(|e| e.to_string())
}

#[test]
fn every_body_that_is_asked_for_has_an_example_that_is_understood() {
    let api = described();
    for (method, path, operation) in operations(&api) {
        let content = &operation["requestBody"]["content"]["application/json"];
        if content.is_null() {
            continue;
        }
        let example = &content["example"];
        let read = match schema(content) {
            "AttachVolume" => understood::<AttachVolume>(example),
            "ChangePassword" => understood::<ChangePassword>(example),
            "CloneMachine" => understood::<CloneMachine>(example),
            "CloneVolume" => understood::<CloneVolume>(example),
            "CreatePool" => understood::<CreatePool>(example),
            "CreateToken" => understood::<CreateToken>(example),
            "CreateUser" => understood::<CreateUser>(example),
            "CreateVolume" => understood::<CreateVolume>(example),
            "DeployMachine" => understood::<DeployMachine>(example),
            "Edit" => understood::<Edit>(example),
            "ExecRequest" => understood::<sistemo::api::ExecRequest>(example),
            "Login" => understood::<Login>(example),
            "MoveVolume" => understood::<MoveVolume>(example),
            "PullImage" => understood::<PullImage>(example),
            "ResizePool" => understood::<ResizePool>(example),
            "ResizeVolume" => understood::<ResizeVolume>(example),
            "Restore" => understood::<Restore>(example),
            "RestoreSnapshot" => understood::<RestoreSnapshot>(example),
            "Setup" => understood::<Setup>(example),
            "TakeSnapshot" => understood::<TakeSnapshot>(example),
            other => Err(format!("nobody says here which type {other} is")),
        };
        assert_eq!(read, Ok(()), "{method} {path}");
    }
}

#[test]
fn every_body_that_is_answered_has_an_example_of_its_fields() {
    let api = described();
    for (method, path, operation) in operations(&api) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let content = &response["content"]["application/json"];
            if content.is_null() {
                continue;
            }
            let place = format!("{method} {path} {status}");
            let mut example = &content["example"];
            let mut name = schema(content);
            if let Some(item) = name.strip_prefix("List_") {
                (example, name) = (&example["items"][0], item);
            }
            let fields = example.as_object().unwrap_or_else(|| panic!("{place}: no example"));
            let told = &api["components"]["schemas"][name];
            // What is put together of others has its fields there.
            let Some(known) = told["properties"].as_object() else { continue };
            for field in fields.keys() {
                assert!(known.contains_key(field), "{place}: {field}");
            }
            for field in told["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(field.as_str().unwrap()), "{place}: {field}");
            }
        }
    }
}

#[test]
fn a_change_that_is_accepted_says_where_to_follow_it() {
    let api = described();
    for (method, path, operation) in operations(&api) {
        let accepted = &operation["responses"]["202"];
        assert!(accepted.is_null() || accepted["headers"]["location"].is_object(), "{method} {path}");
    }
}
