//! A request at a desk whose disk fails at each of its steps: what was answered is answered again, its record stands in
//! the stream before it, and the join token enrols nobody else.

use marque_test_support::{TestDisk, Trial};
use tokio::runtime::{Builder, Runtime};

use super::tests::{Log, Office, Standing};
use super::*;
use crate::store::failing::open_of;
use crate::testing;

/// The process: its own runtime, the disk that it was given, the stream that outlives it.
struct Process {
    runtime: Runtime,
    desk: Desk<Log, Standing>,
}

impl Process {
    fn start(disk: TestDisk, office: &Office) -> Result<Self, StoreError> {
        let store = open_of(disk, &testing::bundle().trust_domain, &testing::issuer().did())?;
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Ok(Self { runtime, desk: office.desk_with(store, Standing::default()) })
    }

    fn enrol(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.runtime.block_on(self.desk.answer(Duty::Enrol, body))
    }
}

/// What the agent was answered, and what the stream holds.
struct Told {
    office: Office,
    answer: Option<Vec<u8>>,
}

#[test]
fn an_answer_is_the_same_for_ever_and_its_token_nobody_elses_wherever_the_disk_fails() {
    let (agent, thief) = (testing::agent(), SigningKey::from_seed(&[8; 32]));
    let written = Office::new();
    let join = written.join("j1");
    let (own, stolen) = (written.enrolment("e1", &join, &agent), written.enrolment("e2", &join, &thief));
    let made = TestDisk::default();
    drop(open_of(made.clone(), &testing::bundle().trust_domain, &testing::issuer().did()).unwrap());
    let story = |disk| {
        let office = Office::new();
        let answer = Process::start(disk, &office).ok().and_then(|process| process.enrol(&own).ok());
        Told { office, answer }
    };
    let check = |told: &Told, disk: TestDisk| {
        // Of this ending alone: the stream is as the process left it.
        let office = told.office.fork();
        let issued = office.log.of(RecordKind::Issued);
        assert!(told.answer.is_none() || issued.len() == 1, "answered before it was recorded");
        let process = Process::start(disk, &office).unwrap();
        process.runtime.block_on(process.desk.settle_pending()).unwrap();
        let answer = process.enrol(&own).unwrap();
        assert!(told.answer.as_ref().is_none_or(|told| *told == answer), "another answer");
        assert_eq!(process.enrol(&stolen).unwrap_err().code, Code::JoinTokenUsed);
        let recorded = office.log.of(RecordKind::Issued);
        assert_eq!(recorded.len(), 1, "one credential, one record");
        assert!(recorded.starts_with(&issued), "what was recorded is another's");
    };
    let checked = Trial { before: made.bytes() }.run(story, |told, disk, _| check(told, disk));
    assert!(checked > 100, "{checked}");
}
