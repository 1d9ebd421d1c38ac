//! Prints what was measured: each server's median and spread, and ratios to the floor.

use std::fmt::Write;

/// All measurements of one server.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) rates: Vec<f64>,
}

impl Series {
    fn sorted(&self) -> Vec<f64> {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates
    }

    fn median(&self) -> f64 {
        let rates = self.sorted();
        rates.get(rates.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Returns the table of one scenario; the first series is the floor.
pub(crate) fn table(title: &str, unit: &str, series: &[Series]) -> String {
    let floor = series.first().map_or(1.0, Series::median);
    let mut text = format!("{title}\n");
    for one in series {
        let rates = one.sorted();
        let (low, high) = (rates.first().copied(), rates.last().copied());
        writeln!(
            text,
            "  {:<10} {:>12.0} {unit}  ({:.0} to {:.0})  {:.2} of the floor",
            one.name,
            one.median(),
            low.unwrap_or(0.0),
            high.unwrap_or(0.0),
            one.median() / floor
        )
        .expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians() {
        let floor = Series { name: "floor", rates: vec![90.0, 100.0, 400.0] };
        let ours = Series { name: "lineman", rates: vec![80.0, 10.0, 90.0] };
        let text = table("echo", "messages/s", &[floor, ours]);
        assert!(text.contains("80 messages/s  (10 to 90)  0.80 of the floor"), "{text}");
    }
}
