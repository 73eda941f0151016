//! Proof checking for other languages and outside suites: one JSON line in, one JSON line out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marque_json::Limits;
use serde::{Deserialize, Serialize};

use crate::{Hash, LedgerError, verify_consistency, verify_inclusion};

/// Hashes in a proof over which it can't be one: twice the height of the tallest tree, so that a proof that is too
/// long is still refused for what it is.
const PROOF_HASHES_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Question {
    #[serde(rename_all = "camelCase")]
    Inclusion { leaf_idx: u64, tree_size: u64, leaf_hash: String, root: String, proof: Option<Vec<String>> },
    #[serde(rename_all = "camelCase")]
    Consistency { size1: u64, size2: u64, root1: String, root2: String, proof: Option<Vec<String>> },
}

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
    let question: Question =
        marque_json::from_slice(line.as_bytes(), Limits::DEFAULT).map_err(|error| error.to_string())?;
    match question {
        Question::Inclusion { leaf_idx, tree_size, leaf_hash, root, proof } => {
            let (leaf, root) = (hash("leafHash", &leaf_hash)?, hash("root", &root)?);
            Ok(verify_inclusion(leaf_idx, tree_size, leaf, &hashes(proof)?, root).is_ok())
        }
        Question::Consistency { size1, size2, root1, root2, proof } => {
            let proof = hashes(proof)?;
            // Two equal sizes need no hashing: the roots are the same bytes or they are not, and the published
            // vectors put texts of other lengths there.
            if size1 == size2 && size1 > 0 && proof.is_empty() {
                let (root1, root2) = (bytes("root1", &root1)?, bytes("root2", &root2)?);
                return Ok(root1 == root2 && !root1.is_empty());
            }
            let checked: Result<(), LedgerError> =
                verify_consistency(size1, size2, &proof, hash("root1", &root1)?, hash("root2", &root2)?);
            Ok(checked.is_ok())
        }
    }
}

fn hashes(proof: Option<Vec<String>>) -> Result<Vec<Hash>, String> {
    let proof = proof.unwrap_or_default();
    if proof.len() > PROOF_HASHES_MAX {
        return Err(format!("proof: more than {PROOF_HASHES_MAX} hashes"));
    }
    proof.iter().map(|text| hash("proof", text)).collect()
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
