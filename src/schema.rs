//! The JSON Schemas of what carota reads and prints. They are files of docs/schema/, reviewed as text;
//! tests hold them against the types and against real output.

/// What has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// cluster.toml.
    Cluster,
    /// plan.json.
    Plan,
    /// `check --format json`.
    Check,
    /// `prove --format json`.
    Proof,
    /// `diff --format json`.
    Diff,
}

impl Subject {
    /// The schema.
    #[must_use]
    pub fn schema(self) -> &'static str {
        match self {
            Subject::Cluster => include_str!("../docs/schema/cluster.json"),
            Subject::Plan => include_str!("../docs/schema/plan.json"),
            Subject::Check => include_str!("../docs/schema/check.json"),
            Subject::Proof => include_str!("../docs/schema/proof.json"),
            Subject::Diff => include_str!("../docs/schema/diff.json"),
        }
    }
}

/// What the schema of cluster.toml is called beside a cluster.toml. Editors find it there without a
/// network.
pub const BESIDE: &str = "cluster.schema.json";
