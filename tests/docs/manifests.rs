//! The manifests of README and the book are valid, and `dripfeed validate` finds nothing in them.

use serde_json::Value as Json;

use super::pages;
use crate::support::tap::Tap;

#[test]
fn each_manifest_of_a_page_is_valid_without_a_finding() {
    let mut count = 0;
    for page in pages() {
        let blocks = page.blocks();
        let manifests = blocks
            .iter()
            .filter(|block| block.language == "yaml" && block.text.lines().any(|l| l == "type: DeclarativeSource"));
        for block in manifests {
            count += 1;
            let ran = Tap::new("validate --format json").file("", "page.yaml", &block.text);
            let path = ran.dir.path().join("page.yaml").display().to_string();
            let ran = ran.args(&[&path]).run();
            let findings: Json = serde_json::from_str(&ran.out).unwrap_or_default();
            let place = format!("{}:{}", page.path, block.line);
            assert_eq!((ran.code, findings), (0, Json::Array(Vec::new())), "{place}\n{}{}", ran.out, ran.err);
        }
    }
    assert!(count >= 9, "{count} manifests");
}
