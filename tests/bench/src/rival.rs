//! The rival: the `tenuo` crate verifying a chain and authorizing one call, its way.

use std::collections::HashMap;
use std::time::Duration;

use tenuo::{Authorizer, ConstraintSet, ConstraintValue, Exact, Signature, SigningKey, Warrant};

/// A warrant chain with one call's proof, and who judges it.
pub struct Rival {
    authorizer: Authorizer,
    chain: Vec<Warrant>,
    args: HashMap<String, ConstraintValue>,
    proof: Signature,
}

const TOOL: &str = "crm_query";

impl Rival {
    /// A chain of `depth` warrants under distinct keys, each with the constraint that ours has.
    pub fn new(depth: usize) -> Self {
        let keys: Vec<SigningKey> = (0..=depth).map(|_| SigningKey::generate()).collect();
        let mut constraints = ConstraintSet::new();
        constraints.insert("customer", Exact::new("acme"));
        constraints.insert("limit", Exact::new(20));
        let root = Warrant::builder()
            .capability(TOOL, constraints)
            .ttl(Duration::from_secs(3600))
            .holder(keys[1].public_key())
            .build(&keys[0])
            .expect("a root warrant");
        let mut chain = vec![root];
        for signer in 1..depth {
            let parent = chain.last().expect("the root is there").clone();
            let child = parent.attenuate().inherit_all().holder(keys[signer + 1].public_key()).build(&keys[signer]);
            chain.push(child.expect("a child warrant"));
        }
        let args = HashMap::from([
            ("customer".to_owned(), ConstraintValue::String("acme".to_owned())),
            ("limit".to_owned(), ConstraintValue::Integer(20)),
        ]);
        let leaf = chain.last().expect("the root is there");
        let proof = leaf.sign(&keys[depth], TOOL, &args).expect("a proof");
        let mut authorizer = Authorizer::new();
        authorizer.add_trusted_root(keys[0].public_key());
        Self { authorizer, chain, args, proof }
    }

    /// Verifies the chain and authorizes the call.
    pub fn authorize(&self) -> bool {
        self.authorizer.check_chain(&self.chain, TOOL, &self.args, Some(&self.proof), &[]).is_ok()
    }
}
