//! The request of a server to itself.

use sc_server::SelfTestError;

use crate::rig::{Rig, Wish, run};

#[test]
fn configured_names_pass_and_leave_no_trace() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        rig.server.self_test("www.shop.example").await.unwrap();
        rig.server.self_test("*.tenants.example").await.unwrap();
        assert!(rig.book.records.borrow().is_empty());
        assert_eq!(rig.book.events.borrow().len(), 3, "listening, three times");
        assert_eq!((rig.numbers.sum(), rig.open()), (0, (0, 0, 0)));
        assert_eq!(rig.app.waiting.get(), 0);
    });
}

#[test]
fn what_is_wrong_is_told() {
    run(async {
        let rig = Rig::start(Wish::default()).await;
        let failed = rig.server.self_test("other.example").await;
        assert!(matches!(failed, Err(SelfTestError::NoSite(name)) if name == "other.example"));
        let failed = rig.server.self_test("www.shop.test").await.unwrap_err();
        assert!(matches!(failed, SelfTestError::Handshake(_)), "{failed:?}");
        assert_eq!(
            sc_server::chain(&failed),
            "the TLS handshake failed on the server's side: there is no certificate for the name that the client asked for"
        );
    });
}
