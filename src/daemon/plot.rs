//! Pure: a small plot of numbers over time, as SVG.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

/// Size in SVG's units.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 44.0;
/// Room for a dot at each end.
const MARGIN: f64 = 4.0;

/// One number.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) time: DateTime<Utc>,
    pub(super) value: f64,
    /// Shown as a dot that warns.
    pub(super) bad: bool,
    /// For who points at it.
    pub(super) words: String,
}

/// The points, the oldest first, from zero upwards. `label` says what the plot shows to who cannot see it.
pub(super) fn plot(label: &str, points: &[Point]) -> Markup {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
    let most = points.iter().map(|point| point.value).fold(f64::MIN_POSITIVE, f64::max);
    #[allow(clippy::cast_precision_loss)]
    let seconds = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).num_seconds() as f64;
    let span = seconds(first.time, last.time).max(1.0);
    let place = |point: &Point| {
        let x = MARGIN + seconds(first.time, point.time) / span * (WIDTH - 2.0 * MARGIN);
        let y = HEIGHT - MARGIN - point.value.max(0.0) / most * (HEIGHT - 2.0 * MARGIN);
        // one alone stands at the end, where the newest is
        (if points.len() == 1 { WIDTH - MARGIN } else { x }, y)
    };
    let line: Vec<String> = points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) preserveAspectRatio="none" {
            line class="base" x1="0" x2=(WIDTH) y1=(HEIGHT - 1.0) y2=(HEIGHT - 1.0) {}
            polyline points=(line.join(" ")) {}
            @for (index, point) in points.iter().enumerate() {
                @let (x, y) = place(point);
                @let class = if point.bad { "bad" } else if index + 1 == points.len() { "last" } else { "dot" };
                path class=(class) d=(format!("M{x:.1} {y:.1}h0")) { title { (point.words) } }
            }
        }
    }
}

/// Numbers at even distances, the oldest first, from zero upwards, as a line that goes into a row of a table.
pub(super) fn sparkline(values: &[u64]) -> Markup {
    const LAST: u64 = 100;
    let most = values.iter().copied().max().unwrap_or_default().max(1);
    if values.len() < 2 {
        return html! {};
    }
    let steps = values.len() as u64 - 1;
    let height = |value: u64| 19 - u128::from(value) * 18 / u128::from(most);
    let points =
        (0..).zip(values).map(|(index, value): (u64, _)| format!("{},{}", index * LAST / steps, height(*value)));
    let points: Vec<String> = points.collect();
    html! {
        svg class="spark" viewBox="0 0 100 20" aria-hidden="true" preserveAspectRatio="none" {
            polyline points=(points.join(" ")) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_goes_from_the_oldest_to_the_newest_and_one_number_makes_none() {
        let svg = sparkline(&[0, 50, 100]).into_string();
        assert!(svg.contains(r#"points="0,19 50,10 100,1""#), "{svg}");
        assert!(sparkline(&[0, 0]).into_string().contains(r#"points="0,19 100,19""#));
        assert_eq!(sparkline(&[7]).into_string() + &sparkline(&[]).into_string(), "");
    }

    fn point(minute: u32, value: f64) -> Point {
        let time = format!("2026-01-28T02:{minute:02}:00Z").parse().unwrap();
        Point { time, value, bad: false, words: format!("<{value}>") }
    }

    #[test]
    fn points_lie_by_their_time_and_value_within_the_plot() {
        let points = [point(0, 0.0), point(10, 50.0), point(40, 100.0)];
        let svg = plot("size", &points).into_string();
        assert!(svg.contains(r#"points="4.0,40.0 62.0,22.0 236.0,4.0""#), "{svg}");
        assert!(svg.contains("&lt;50&gt;"), "{svg}");
    }

    #[test]
    fn one_point_or_none_breaks_nothing() {
        assert_eq!(plot("size", &[]).into_string(), "");
        assert!(plot("size", &[point(0, 0.0)]).into_string().contains("M236.0 40.0h0"));
    }
}
