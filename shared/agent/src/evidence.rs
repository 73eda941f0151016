//! What an agent enrols on: the pieces of evidence that its blueprint demands.

use marque_credential::Manifest;
use marque_identity::BlueprintName;
use serde::Serialize;

/// Evidence for one enrolment. Each piece but the manifest enrols once.
///
/// A join token alone is the simple path: `&str` and `String` are evidence. Otherwise name the blueprint and add what it
/// demands: `Evidence::of(blueprint).oidc(token).process(statement).manifest(manifest)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// An operator's one-time token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
    /// A token of an OpenID Connect issuer, or a JWT-SVID.
    #[serde(rename = "oidc_token", skip_serializing_if = "Option::is_none")]
    pub oidc: Option<String>,
    /// An attestor's statement on this process and this key, a `marque-process+jwt`.
    #[serde(rename = "process_evidence", skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// What is deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The kind of agent to enrol as; without a join token it must be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<BlueprintName>,
}

impl Evidence {
    /// No piece yet, for an agent of this kind.
    pub fn of(blueprint: BlueprintName) -> Self {
        Self { blueprint: Some(blueprint), ..Self::default() }
    }

    /// The same with a join token.
    #[must_use]
    pub fn join_token(mut self, token: impl Into<String>) -> Self {
        self.join_token = Some(token.into());
        self
    }

    /// The same with a token of an OpenID Connect issuer, or a JWT-SVID.
    #[must_use]
    pub fn oidc(mut self, token: impl Into<String>) -> Self {
        self.oidc = Some(token.into());
        self
    }

    /// The same with an attestor's statement on this process.
    #[must_use]
    pub fn process(mut self, statement: impl Into<String>) -> Self {
        self.process = Some(statement.into());
        self
    }

    /// The same with the manifest of what is deployed.
    #[must_use]
    pub fn manifest(mut self, manifest: Manifest) -> Self {
        self.manifest = Some(manifest);
        self
    }

    /// The same, as an agent of this kind.
    #[must_use]
    pub fn blueprint(mut self, blueprint: BlueprintName) -> Self {
        self.blueprint = Some(blueprint);
        self
    }
}

impl From<&str> for Evidence {
    fn from(join_token: &str) -> Self {
        Self::default().join_token(join_token)
    }
}

impl From<&String> for Evidence {
    fn from(join_token: &String) -> Self {
        Self::default().join_token(join_token)
    }
}

impl From<String> for Evidence {
    fn from(join_token: String) -> Self {
        Self::default().join_token(join_token)
    }
}
