//! Proof checking for other languages and outside suites: one JSON line in, one JSON line out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marque_json::{Json, Limits, Object};
use serde::Serialize;

use crate::{Hash, verify_consistency, verify_inclusion};

/// Hashes in a proof over which it can't be one: twice the height of the tallest tree, so that a proof that is too
/// long is still refused for what it is.
const PROOF_HASHES_MAX: usize = 128;

#[derive(Serialize)]
struct Answer {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Answers `{kind:"inclusion", leafIdx, treeSize, leafHash, root, proof[]}` or
/// `{kind:"consistency", size1, size2, root1, root2, proof[]}` (hashes in standard base64) with `{"valid":true}` or
/// `{"valid":false}`; a question that can't be read also gets an `error`. The answer has no newline.
pub fn answer(line: &str) -> String {
    let answer = match ask(line) {
        Ok(valid) => Answer { valid, error: None },
        Err(error) => Answer { valid: false, error: Some(error) },
    };
    // A bool and a string: serialization has no way to fail.
    serde_json::to_string(&answer).unwrap_or_else(|_| r#"{"valid":false}"#.to_owned())
}

fn ask(line: &str) -> Result<bool, String> {
    let json = marque_json::parse(line.as_bytes(), Limits::DEFAULT).map_err(|error| error.to_string())?;
    let question = Question(json.as_object().ok_or("the line is not a JSON object")?);
    match question.text("kind")? {
        "inclusion" => {
            let (leaf, root) = (question.hash("leafHash")?, question.hash("root")?);
            let (index, size) = (question.count("leafIdx")?, question.count("treeSize")?);
            Ok(verify_inclusion(index, size, leaf, &question.proof()?, root).is_ok())
        }
        "consistency" => {
            let (size1, size2, proof) = (question.count("size1")?, question.count("size2")?, question.proof()?);
            // Two equal sizes need no hashing: the roots are the same bytes or they are not, and the published
            // vectors put texts of other lengths there.
            if size1 == size2 && size1 > 0 && proof.is_empty() {
                let (root1, root2) = (question.bytes("root1")?, question.bytes("root2")?);
                return Ok(root1 == root2 && !root1.is_empty());
            }
            Ok(verify_consistency(size1, size2, &proof, question.hash("root1")?, question.hash("root2")?).is_ok())
        }
        _ => Err("kind: neither `inclusion` nor `consistency`".to_owned()),
    }
}

/// A line's members, each read as what it must be. Others are not looked at: published vectors have some.
struct Question<'q>(&'q Object<'q>);

impl<'q> Question<'q> {
    fn text(&self, name: &str) -> Result<&'q str, String> {
        let member = self.0.get(name).ok_or_else(|| format!("{name}: missing"))?;
        member.as_str().ok_or_else(|| format!("{name}: not a string"))
    }

    fn count(&self, name: &str) -> Result<u64, String> {
        let member = self.0.get(name).ok_or_else(|| format!("{name}: missing"))?;
        let count = member.as_number().and_then(|number| number.text().parse().ok());
        count.ok_or_else(|| format!("{name}: not an integer from 0 to 2^64 - 1"))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        bytes(name, self.text(name)?)
    }

    fn hash(&self, name: &str) -> Result<Hash, String> {
        hash(name, self.text(name)?)
    }

    fn proof(&self) -> Result<Vec<Hash>, String> {
        let hashes = match self.0.get("proof") {
            None | Some(Json::Null) => return Ok(Vec::new()),
            Some(proof) => proof.as_array().ok_or("proof: not an array")?,
        };
        if hashes.len() > PROOF_HASHES_MAX {
            return Err(format!("proof: more than {PROOF_HASHES_MAX} hashes"));
        }
        hashes.iter().map(|text| hash("proof", text.as_str().ok_or("proof: not an array of strings")?)).collect()
    }
}

fn bytes(name: &str, text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| format!("{name}: not standard base64"))
}

fn hash(name: &str, text: &str) -> Result<Hash, String> {
    Hash::from_slice(&bytes(name, text)?).ok_or_else(|| format!("{name}: not 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEAF: &str = "DTrtAjFI/9KiWfvQzcf7PPl1ZYdg03dbgq9vkKrMLfw=";

    #[test]
    fn answers_yes_no_and_cannot_read() {
        let ask = |leaf: &str, size| {
            answer(&format!(
                r#"{{"kind":"inclusion","leafIdx":0,"treeSize":{size},"leafHash":"{leaf}","root":"{LEAF}","proof":null}}"#
            ))
        };
        assert_eq!(ask(LEAF, 1), r#"{"valid":true}"#);
        assert_eq!(ask(LEAF, 2), r#"{"valid":false}"#);
        assert_eq!(ask("", 1), r#"{"valid":false,"error":"leafHash: not 32 bytes"}"#);
        assert_eq!(ask(&LEAF[..43], 1), r#"{"valid":false,"error":"leafHash: not standard base64"}"#);
        let same = |size: u64, root: &str| {
            answer(&format!(
                r#"{{"kind":"consistency","size1":{size},"size2":{size},"root1":"{root}","root2":"{root}","proof":[]}}"#
            ))
        };
        assert_eq!(same(u64::MAX, LEAF), r#"{"valid":true}"#);
        assert_eq!(same(0, LEAF), r#"{"valid":false}"#);
        assert_eq!(same(1, ""), r#"{"valid":false}"#);
        for (line, error) in [
            (r#"{}"#, "kind: missing"),
            (r#"[]"#, "the line is not a JSON object"),
            (r#"{"kind":7}"#, "kind: not a string"),
            (r#"{"kind":"other"}"#, "kind: neither `inclusion` nor `consistency`"),
            (r#"{"kind":"consistency","size1":-1}"#, "size1: not an integer from 0 to 2^64 - 1"),
            (r#"{"kind":"consistency","size1":1}"#, "size2: missing"),
            (r#"{"kind":"consistency","size1":1,"size2":2,"proof":[3]}"#, "proof: not an array of strings"),
        ] {
            let answer: serde_json::Value = serde_json::from_str(&answer(line)).unwrap();
            assert_eq!((&answer["valid"], &answer["error"]), (&false.into(), &error.into()), "{line}");
        }
        let duplicated = r#"{"kind":"inclusion","kind":"inclusion"}"#;
        assert!(answer(duplicated).contains("error"));
        let long = format!(
            r#"{{"kind":"consistency","size1":1,"size2":2,"root1":"{LEAF}","root2":"{LEAF}","proof":[{}]}}"#,
            vec![format!("\"{LEAF}\""); 129].join(",")
        );
        assert!(answer(&long).contains("more than 128"));
    }

    proptest! {
        #[test]
        fn noise_gets_an_answer(line in "\\PC{0,80}") {
            let refused = answer(&line).starts_with(r#"{"valid":false,"error":"#);
            prop_assert!(refused);
        }
    }

    /// Every file of the published vectors gets the answer that its `wantErr` asks for.
    #[test]
    #[ignore = "needs MARQUE_VECTORS"]
    fn agrees_with_the_published_vectors() {
        let root = std::path::PathBuf::from(std::env::var("MARQUE_VECTORS").unwrap()).join("merkle");
        let mut seen = 0;
        for kind in ["inclusion", "consistency"] {
            let mut open = vec![root.join(kind)];
            while let Some(path) = open.pop() {
                if path.is_dir() {
                    open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                    continue;
                }
                let mut case: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                case["kind"] = kind.into();
                let wanted = !case["wantErr"].as_bool().unwrap();
                let answer: serde_json::Value = serde_json::from_str(&answer(&case.to_string())).unwrap();
                assert_eq!(answer["valid"], wanted, "{}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 150);
    }
}
