use marque_identity::{Did, UnixMillis};
use marque_judgement::record::RecordKind;
use marque_test_support::TestDisk;

use super::*;
use crate::About;
use crate::store::failing::open_of;
use crate::store::tests::grant;
use crate::testing;

/// Nobody asks here.
struct Nobody;

impl Records for Nobody {
    async fn publish(&self, _: RecordKind, _: &Did, _: &str) -> Result<(), Refusal> {
        panic!("nothing is granted")
    }
}

impl Directives for Nobody {
    fn check(&self, _: &About) -> Result<(), Refusal> {
        panic!("nothing is granted")
    }
}

#[tokio::test]
async fn a_service_whose_disk_has_failed_ends_and_one_whose_disk_is_sound_goes_on() {
    for sound in [false, true] {
        let (disk, key, rules) = (TestDisk::default(), testing::issuer(), testing::rules());
        let store = open_of(disk.clone(), &rules.bundle.trust_domain, &key.did()).unwrap();
        let desk = Desk {
            key: Arc::new(key),
            rules: Arc::new(rules),
            oidc: Arc::default(),
            store,
            records: Nobody,
            directives: Nobody,
            now: Arc::new(|| UnixMillis(0)),
            metrics: Metrics::default(),
        };
        let (trigger, shutdown) = Shutdown::manual();
        if sound {
            trigger.ask();
        } else {
            disk.fill();
            assert!(desk.store.begin(grant(2, "a", "x"), &[]).is_err());
            // There is room again, and still the store answers nothing.
            disk.make_room();
        }
        assert_eq!(tidy_until(&shutdown, &desk).await.is_ok(), sound);
    }
}
