//! `GET /openapi.json` against what the port answers. Whole answers are held
//! against its schemas by `clients/python/test_openapi.py`.

use super::*;
use prost::Message as _;

/// Methods of HTTP that a path can be asked with, as the document spells them.
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

async fn document(node: &Node) -> Value {
    let answer = node.get("/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    answer.json()
}

#[tokio::test]
async fn every_route_is_described_and_everything_described_is_a_route() {
    let mut node = Node::start().await;
    let _answering = node.answer_patterns();
    let document = document(&node).await;
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = document["paths"].as_object().expect("an object");
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let routes: BTreeSet<&str> = routes().into_iter().map(|(path, _)| path).collect();
    assert_eq!(described, routes);
    for (path, item) in paths {
        let asked = path.replace(['{', '}'], "");
        for method in METHODS {
            let name = method.to_uppercase().parse().expect("a method");
            let response = node.client.request(name, node.url(&asked)).send().await;
            let status = response.expect("an answer").status();
            let is_there = status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_there, item.get(method).is_some(), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn every_operation_has_a_call_of_its_name() {
    let node = Node::start().await;
    let document = document(&node).await;
    let items = document["paths"].as_object().expect("an object").values();
    let operations = items.flat_map(|item| item.as_object().expect("an object").values());
    let names = operations.map(|operation| operation["operationId"].as_str().expect("a name"));
    let names = names.filter(|name| *name != "getOpenapi").map(str::to_lowercase);
    let files = prost_types::FileDescriptorSet::decode(grpc::pb::DESCRIPTORS).expect("a set");
    let services = files.file.iter().flat_map(|file| &file.service);
    let calls = services.flat_map(|service| &service.method).map(|it| it.name().to_lowercase());
    assert_eq!(names.collect::<BTreeSet<_>>(), calls.collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn every_name_that_the_document_refers_to_is_in_it() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document(&Node::start().await).await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    let used: BTreeSet<&str> = found.into_iter().collect();
    let mut defined = BTreeSet::new();
    for kind in ["schemas", "responses"] {
        let names = document["components"][kind].as_object().expect("an object").keys();
        defined.extend(names.map(|name| format!("#/components/{kind}/{name}")));
    }
    assert_eq!(used, defined.iter().map(String::as_str).collect());
}

#[test]
fn the_code_of_the_calls_is_made_of_the_proto_file() {
    let hash = blake3::hash(include_bytes!("../../../proto/bizra.proto"));
    let first = include_str!("../grpc/bizra.v1.rs").lines().next().expect("a line");
    assert_eq!(first, format!("// BLAKE3 of bizra.proto: {hash}"), "make proto");
}
