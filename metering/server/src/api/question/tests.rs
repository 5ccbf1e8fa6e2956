use super::*;

fn path(text: &str) -> TenantPath {
    text.parse().unwrap()
}

#[test]
fn a_tenant_reads_itself_and_what_stands_in_it() {
    let own = MayRead::Tenant(path("acme"));
    let of = |may_read: &MayRead, tenant: Option<&str>| {
        let asked = Filter { tenant: tenant.map(path), ..Filter::default() };
        narrowed(may_read, asked).map(|filter| filter.tenant)
    };
    assert_eq!(of(&own, None), Some(Some(path("acme"))), "everything it asks for is its own");
    assert_eq!(of(&own, Some("acme/physics")), Some(Some(path("acme/physics"))));
    for other in ["acme2", "globex"] {
        assert_eq!(of(&own, Some(other)), None, "{other}");
        assert_eq!(of(&MayRead::Everything, Some(other)), Some(Some(path(other))));
    }
    assert_eq!(of(&MayRead::Tenant(path("acme/physics")), Some("acme")), None, "nor the one it stands in");
}

#[test]
fn a_user_reads_his_own_jobs_whatever_he_asks() {
    let asked = Filter { job: Some(JobId(7)), user: Some("root".to_owned()), ..Filter::default() };
    let expected = Filter { uid: Some(1001), ..asked.clone() };
    assert_eq!(narrowed(&MayRead::JobsOf(1001), asked), Some(expected));
}

#[test]
fn a_question_that_makes_no_sense_is_refused_with_the_next_step() {
    let time = |text: &str| Some(text.parse().unwrap());
    let text = |text: &str| Some(text.to_owned());
    for (raw, says) in [
        (Raw { limit: Some(0), ..Raw::default() }, "1 to 10000"),
        (Raw { limit: Some(10_001), ..Raw::default() }, "cursor="),
        (Raw { cursor: text("x"), ..Raw::default() }, "next_cursor"),
        (Raw { cursor: text("7.8.n1"), records: Some(Records::Windows), ..Raw::default() }, "next_cursor"),
        (Raw { group_by: text("colour"), ..Raw::default() }, "tenant,user"),
        (Raw { group_by: text("day,day"), ..Raw::default() }, "once"),
        (Raw { group_by: text(""), ..Raw::default() }, "tenant,user"),
        (Raw { group_by: text("day"), records: Some(Records::Runs), ..Raw::default() }, "records="),
        (Raw { group_by: text("day"), limit: Some(5), ..Raw::default() }, "limit="),
        (
            Raw { from: time("2026-11-22T10:00:00Z"), to: time("2026-11-22T10:00:00Z"), ..Raw::default() },
            "exclusive",
        ),
    ] {
        let said = serde_json::to_string(&Question::of(raw).unwrap_err()).unwrap();
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn pages_of_runs_hold_each_once_whatever_comes_meanwhile() {
    let report: tenantry_model::usage::UsageReport =
        serde_json::from_str(include_str!("../../../../ctl/tests/golden/usage.json")).unwrap();
    let (mut after, mut seen, mut all) = (None, Vec::new(), report.usage.clone());
    for round in 0.. {
        let mut page = all.clone();
        let next = cut(&mut page, after.as_ref(), 1);
        seen.extend(page.iter().map(place_of));
        let Some(next) = next else { break };
        after = Some(place(&next).unwrap());
        // An earlier one comes, and one that ends.
        let mut earlier = report.usage[0].clone();
        earlier.job_id = JobId(round + 1);
        all.push(earlier);
        for record in &mut all {
            record.state = tenantry_model::usage::UsageState::Final;
        }
    }
    let mut expected: Vec<_> = report.usage.iter().map(place_of).collect();
    expected.sort();
    assert_eq!(seen, expected);
}
