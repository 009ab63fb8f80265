use super::{LARGEST_PART, PartPlan};
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

#[test]
fn a_small_database_gets_small_parts_and_a_huge_one_large_parts_one_at_a_time() {
    assert_eq!(PartPlan::new(1000, 10_000), PartPlan { part: 16 << 20, in_flight: 4 });
    let huge = PartPlan::new(5000 * GIB, 10_000);
    assert_eq!(huge.in_flight, 1);
    assert!(huge.part * 10_000 >= 10_000 * GIB);
}

proptest! {
    #[test]
    fn twice_the_expected_length_fits_and_four_times_does_after_doubling(expected in 0..4000 * GIB, max_parts in 100_u32..=10_000) {
        let first = PartPlan::new(expected, max_parts);
        let capacity: u64 = (0..max_parts).map(|sent| first.after(sent, max_parts).part).sum();
        let possible = expected.min(u64::from(max_parts) * (LARGEST_PART / 2));
        prop_assert!(capacity >= possible * 2);
        prop_assert!(capacity >= u64::from(max_parts) * first.part);
    }
}
