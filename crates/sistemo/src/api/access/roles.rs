//! Which role a request needs, and what it would change.
//!
//! Invariant: what is not listed here needs the most: an address that is forgotten is closed, not
//! open. Segments are compared as they stand on the wire, as the router does.

use axum::http::Method;
use types::Role;
use types::operation::{Kind, Verb};

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Anybody at all: it tells nothing, or asks for itself who is there.
    Nothing,
    /// Somebody of at least this role.
    Role(Role),
}

/// What a request needs.
pub fn needed(method: &Method, path: &str) -> Needs {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let reads = method == Method::GET || method == Method::HEAD;
    Needs::Role(match segments.as_slice() {
        ["healthz" | "readyz" | "setup" | "setup.js"] if reads => return Needs::Nothing,
        ["v1", "login" | "setup"] if method == Method::POST => return Needs::Nothing,
        // Who asks about themselves.
        ["v1", "session" | "logout"] => Role::Viewer,
        ["v1", "tokens" | "users", ..] => Role::Admin,
        // A pool is a directory or a piece of a disk of the host.
        ["v1", "pools", ..] if !reads => Role::Admin,
        // It tells where the key of the guests is.
        ["v1", "machines", _, "ssh"] => Role::Operator,
        ["metrics"] if reads => Role::Viewer,
        [
            "v1",
            "machines" | "volumes" | "pools" | "snapshots" | "images" | "networks" | "operations" | "history"
            | "status" | "storage" | "events" | "openapi.json",
            ..,
        ] => {
            if reads {
                Role::Viewer
            } else {
                Role::Operator
            }
        }
        _ => Role::Admin,
    })
}

/// What a request would change, for the history of refused ones.
pub fn change<'a>(method: &Method, path: &'a str) -> Option<(Verb, Kind, &'a str)> {
    let segments: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
    Some(match (method.as_str(), segments.as_slice()) {
        ("POST", ["machines"]) => (Verb::MachineDeploy, Kind::Machine, ""),
        ("DELETE", ["machines", m]) => (Verb::MachineDelete, Kind::Machine, *m),
        ("POST", ["machines", m, "start"]) => (Verb::MachineStart, Kind::Machine, *m),
        ("POST", ["machines", m, "stop"]) => (Verb::MachineStop, Kind::Machine, *m),
        ("POST", ["machines", m, "restart"]) => (Verb::MachineRestart, Kind::Machine, *m),
        ("POST", ["machines", m, "clone"]) => (Verb::MachineClone, Kind::Machine, *m),
        ("POST", ["machines", m, "exec"]) => (Verb::MachineExec, Kind::Machine, *m),
        ("POST", ["machines", m, "volumes"]) => (Verb::VolumeAttach, Kind::Machine, *m),
        ("DELETE", ["machines", m, "volumes", _]) => (Verb::VolumeDetach, Kind::Machine, *m),
        ("POST", ["volumes"]) => (Verb::VolumeCreate, Kind::Volume, ""),
        ("POST", ["volumes", v, "resize"]) => (Verb::VolumeResize, Kind::Volume, *v),
        ("PATCH", ["volumes", v]) => (Verb::VolumeEdit, Kind::Volume, *v),
        ("PATCH", ["machines", m]) => (Verb::MachineEdit, Kind::Machine, *m),
        ("POST", ["volumes", v, "clone"]) => (Verb::VolumeClone, Kind::Volume, *v),
        ("POST", ["volumes", v, "move"]) => (Verb::VolumeMove, Kind::Volume, *v),
        ("POST", ["pools"]) => (Verb::PoolCreate, Kind::Pool, ""),
        ("POST", ["pools", p, "resize"]) => (Verb::PoolResize, Kind::Pool, *p),
        ("DELETE", ["pools", p]) => (Verb::PoolDelete, Kind::Pool, *p),
        ("POST", ["volumes", "import"]) => (Verb::VolumeImport, Kind::Volume, ""),
        ("POST", ["volumes", v, "export"]) => (Verb::VolumeExport, Kind::Volume, *v),
        ("POST", ["volumes", v, "trim"]) => (Verb::VolumeTrim, Kind::Volume, *v),
        ("POST", ["volumes", v, "restore"]) => (Verb::VolumeRestore, Kind::Volume, *v),
        ("POST", ["machines", m, "restore"]) => (Verb::MachineRestore, Kind::Machine, *m),
        ("DELETE", ["volumes", v]) => (Verb::VolumeDelete, Kind::Volume, *v),
        ("POST", ["volumes", v, "snapshot"]) => (Verb::VolumeSnapshot, Kind::Volume, *v),
        ("POST", ["machines", m, "snapshot"]) => (Verb::MachineSnapshot, Kind::Machine, *m),
        ("POST", ["snapshots", s, "restore"]) => (Verb::SnapshotRestore, Kind::Snapshot, *s),
        ("POST", ["snapshots", s, "undelete"]) => (Verb::SnapshotUndelete, Kind::Snapshot, *s),
        ("DELETE", ["snapshots", s]) => (Verb::SnapshotDelete, Kind::Snapshot, *s),
        ("POST", ["images"]) => (Verb::ImagePull, Kind::Image, ""),
        ("DELETE", ["images", i]) => (Verb::ImageDelete, Kind::Image, *i),
        ("POST", ["host", "shutdown"]) => (Verb::HostShutdown, Kind::Node, ""),
        ("POST", ["host", "resume"]) => (Verb::HostResume, Kind::Node, ""),
        ("POST", ["tokens"]) => (Verb::TokenCreate, Kind::Token, ""),
        ("DELETE", ["tokens", t]) => (Verb::TokenRevoke, Kind::Token, *t),
        ("POST", ["users"]) => (Verb::UserCreate, Kind::User, ""),
        ("POST", ["users", u, "password"]) => (Verb::UserPasswd, Kind::User, *u),
        ("DELETE", ["users", u]) => (Verb::UserDelete, Kind::User, *u),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation of the API with what it needs: a new one has to be decided here.
    #[test]
    fn every_operation_is_decided() {
        let api = serde_json::to_value(crate::api::description()).unwrap();
        let mut shown = String::new();
        for (path, item) in api["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let needs = match needed(&method, path) {
                    Needs::Nothing => "-".to_owned(),
                    Needs::Role(role) => role.to_string(),
                };
                let open = ["/v1/login", "/v1/logout", "/v1/setup"].contains(&path.as_str());
                if method != Method::GET && !open {
                    assert!(change(&method, path).is_some(), "{method} {path} is not in `change`");
                }
                shown.push_str(&format!("{needs:9}{:7}{path}\n", method.as_str()));
            }
        }
        insta::assert_snapshot!("roles", shown);
    }

    #[test]
    fn what_is_not_known_is_closed() {
        for path in ["/v1/new", "/", "/v1", "/v1//tokens", "/x/v1/machines", "/v1/%74okens"] {
            assert_eq!(needed(&Method::GET, path), Needs::Role(Role::Admin), "{path}");
        }
        assert_eq!(needed(&Method::PUT, "/healthz"), Needs::Role(Role::Admin));
        assert_eq!(needed(&Method::GET, "/v1/login"), Needs::Role(Role::Admin));
    }
}
