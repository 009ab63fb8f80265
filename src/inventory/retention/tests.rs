use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

const POLICY: Retention = Retention { days: 7, daily: 2, weekly: 4, monthly: 12, min_keep: 1 };

fn now() -> DateTime<Utc> {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

fn database(name: &str) -> Subject {
    Subject::Database(name.to_owned())
}

/// A database called like our own word is another thing than that word.
fn subjects() -> [Subject; 3] {
    [database("globals"), database("c"), Subject::Globals]
}

fn candidate(id: &str, backup_type: BackupType, hours_ago: i64) -> Candidate {
    Candidate {
        id: id.to_owned(),
        subject: database("shop"),
        backup_type,
        started: now() - TimeDelta::hours(hours_ago),
        good: true,
        verified: false,
        guarded: false,
        replicated: true,
    }
}

fn deleted(candidates: &[Candidate], policy: &Retention) -> Vec<String> {
    decide(candidates, policy, now())
        .into_iter()
        .filter(|decision| !decision.keep)
        .map(|decision| decision.id)
        .collect()
}

#[test]
fn auto_backups_go_by_age_but_the_newest_good_one_never_does() {
    let old = [candidate("old", BackupType::Auto, 24 * 30), candidate("older", BackupType::Auto, 24 * 31)];
    assert_eq!(deleted(&old, &POLICY), ["older"]);
    let with_new = [&old[..], &[candidate("new", BackupType::Auto, 1)]].concat();
    assert_eq!(deleted(&with_new, &POLICY), ["old", "older"]);
}

#[test]
fn seven_days_are_kept_to_the_hour() {
    let backups = [
        candidate("new", BackupType::Auto, 1),
        candidate("edge", BackupType::Auto, 7 * 24),
        candidate("past", BackupType::Auto, 7 * 24 + 1),
    ];
    assert_eq!(deleted(&backups, &POLICY), ["past"]);
}

#[test]
fn typed_backups_go_by_count_among_their_own() {
    let mut backups: Vec<_> = (0..4).map(|i| candidate(&format!("d{i}"), BackupType::Daily, i * 24)).collect();
    backups.push(candidate("w", BackupType::Weekly, 24 * 400));
    backups.push(candidate("m", BackupType::Manual, 24 * 4000));
    assert_eq!(deleted(&backups, &POLICY), ["d2", "d3"]);
    assert!(deleted(&backups, &Retention { daily: 0, ..POLICY }).is_empty());
}

#[test]
fn a_backup_that_failed_its_verification_takes_no_place_from_a_good_one() {
    let mut backups: Vec<_> = (0..4).map(|i| candidate(&format!("d{i}"), BackupType::Daily, i * 24)).collect();
    backups[0].good = false;
    assert_eq!(deleted(&backups, &POLICY), ["d3"]);
}

#[test]
fn the_newest_verified_and_whatever_is_not_yet_remote_stay() {
    let mut backups: Vec<_> = (0..5).map(|i| candidate(&format!("a{i}"), BackupType::Auto, 24 * (30 + i))).collect();
    backups[2].verified = true;
    backups[3].replicated = false;
    backups[4].verified = true;
    assert_eq!(deleted(&backups, &POLICY), ["a1", "a4"]);
}

#[test]
fn one_database_does_not_count_for_another() {
    let mut backups = [candidate("a", BackupType::Auto, 24 * 30), candidate("b", BackupType::Auto, 24 * 40)];
    backups[1].subject = database("other");
    assert!(deleted(&backups, &POLICY).is_empty());
}

#[test]
fn a_backup_from_the_future_takes_no_place_from_those_of_the_present() {
    let mut backups: Vec<_> = (0..3).map(|i| candidate(&format!("d{i}"), BackupType::Daily, i * 24)).collect();
    backups.extend((1..=3).map(|i| candidate(&format!("ahead{i}"), BackupType::Daily, -i * 24 * 365)));
    let mut gone = deleted(&backups, &POLICY);
    gone.sort();
    assert_eq!(gone, ["ahead1", "d2"], "each by its own");
    let old = [candidate("old", BackupType::Auto, 24 * 30), candidate("ahead", BackupType::Auto, -24 * 365)];
    assert!(deleted(&old, &POLICY).is_empty(), "the floor is of the present too");
}

#[test]
fn copies_of_one_backup_are_one() {
    let backups = [("a", 1), ("a", 1), ("b", 25), ("c", 49)].map(|(id, hours)| candidate(id, BackupType::Daily, hours));
    assert_eq!(deleted(&backups, &POLICY), ["c"]);
}

#[test]
fn where_every_backup_of_a_database_would_go_none_does() {
    let mut backups = [candidate("old", BackupType::Auto, 24 * 30), candidate("older", BackupType::Auto, 24 * 31)];
    backups.iter_mut().for_each(|backup| backup.good = false);
    assert!(deleted(&backups, &POLICY).is_empty());
    backups[0].good = true;
    assert_eq!(deleted(&backups, &POLICY), ["older"]);
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let types = prop_oneof![
        Just(BackupType::Auto),
        Just(BackupType::Daily),
        Just(BackupType::Weekly),
        Just(BackupType::Monthly),
        Just(BackupType::Manual)
    ];
    let one = (types, -48_i64..20_000, any::<bool>(), any::<bool>(), prop::bool::weighted(0.9), 0..3_usize);
    prop::collection::vec(one, 0..40).prop_map(|list| {
        let build = |(index, (backup_type, hours, good, verified, replicated, subject)): (
            usize,
            (BackupType, i64, bool, bool, bool, usize),
        )| Candidate {
            subject: subjects()[subject].clone(),
            good,
            verified: verified && good,
            replicated,
            ..candidate(&format!("id{index}"), backup_type, hours)
        };
        list.into_iter().enumerate().map(build).collect()
    })
}

fn any_policy() -> impl Strategy<Value = Retention> {
    (0..40_u32, 0..5_u32, 0..5_u32, 0..5_u32, 0..4_u32).prop_map(|(days, daily, weekly, monthly, min_keep)| Retention {
        days,
        daily,
        weekly,
        monthly,
        min_keep,
    })
}

proptest! {
    #[test]
    fn the_floor_holds_for_every_database(backups in any_candidates(), policy in any_policy()) {
        let gone: HashSet<String> = deleted(&backups, &policy).into_iter().collect();
        for subject in subjects() {
            let good: Vec<_> = backups.iter().filter(|b| b.subject == subject && b.good && b.backup_type != BackupType::Manual).collect();
            let kept = good.iter().filter(|b| !gone.contains(&b.id)).count();
            prop_assert!(kept >= good.len().min(policy.min_keep.max(1) as usize));
        }
    }

    #[test]
    fn manual_and_unreplicated_backups_never_go(backups in any_candidates(), policy in any_policy()) {
        let gone: HashSet<String> = deleted(&backups, &policy).into_iter().collect();
        for backup in &backups {
            if backup.backup_type == BackupType::Manual || !backup.replicated {
                prop_assert!(!gone.contains(&backup.id));
            }
        }
    }

    #[test]
    fn deciding_again_after_deleting_deletes_nothing_more(backups in any_candidates(), policy in any_policy()) {
        let gone: HashSet<String> = deleted(&backups, &policy).into_iter().collect();
        let left: Vec<_> = backups.into_iter().filter(|b| !gone.contains(&b.id)).collect();
        prop_assert_eq!(deleted(&left, &policy), Vec::<String>::new());
    }

    #[test]
    fn every_backup_gets_one_decision_whatever_the_order(backups in any_candidates(), policy in any_policy()) {
        let ids: Vec<_> = decide(&backups, &policy, now()).into_iter().map(|d| d.id).collect();
        prop_assert_eq!(ids, backups.iter().map(|b| b.id.clone()).collect::<Vec<_>>());
        let mut reversed = backups.clone();
        reversed.reverse();
        let mut one = deleted(&backups, &policy);
        let mut other = deleted(&reversed, &policy);
        one.sort();
        other.sort();
        prop_assert_eq!(one, other);
    }
}
