//! Numbers as people read them. Full precision is in the JSON and the CSV.

use std::time::Duration;

/// A count with separated thousands: `78,666`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in bytes, in powers of 1024, three digits: `312 KiB`, `1.25 MiB`.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value as f64;
    let mut unit = 0;
    while scaled >= 1023.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    match (unit, scaled) {
        (0, _) => format!("{value} B"),
        (_, scaled) if scaled < 9.995 => format!("{scaled:.2} {}", UNITS[unit]),
        (_, scaled) if scaled < 99.95 => format!("{scaled:.1} {}", UNITS[unit]),
        (_, scaled) => format!("{scaled:.0} {}", UNITS[unit]),
    }
}

/// A share in percent with one decimal: `98.3 %`. 100 % and 0 % are printed only when they are exact.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if share < 1.0 && value >= 99.95 {
        ">99.9 %".to_owned()
    } else if share > 0.0 && value < 0.05 {
        "<0.1 %".to_owned()
    } else {
        format!("{value:.1} %")
    }
}

/// A duration with three digits and the unit that suits it: `1.27 ms`.
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs_f64();
    let (scaled, unit) = match seconds {
        seconds if seconds >= 1.0 => (seconds, "s"),
        seconds if seconds >= 1e-3 => (seconds * 1e3, "ms"),
        seconds => (seconds * 1e6, "µs"),
    };
    format!("{} {unit}", significant(scaled, 3))
}

/// A difference with its sign and two decimals; a dash if there is none.
pub fn signed(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:+.2}{unit}"))
}

/// A ratio in decibels: `31.3 dB`.
pub fn decibels(value: f64) -> String {
    if value.is_finite() { format!("{value:.1} dB") } else { format!("{} dB", non_finite(value)) }
}

/// A real number with four digits: enough for the end of a range.
pub fn short(value: f64) -> String {
    rounded(value, 4)
}

/// A real number with this many significant digits, without trailing zeros.
pub fn rounded(value: f64, digits: u8) -> String {
    let magnitude = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    let unit = 10f64.powf(magnitude + 1.0 - f64::from(digits));
    real((value / unit).round() * unit)
}

/// A real number with about six significant digits, without trailing zeros: `0.0117647`, `1.5e-9`, `-inf`.
pub fn real(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { non_finite(value) };
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..9.0).contains(&magnitude) {
        let text = format!("{value:.5e}");
        return match text.split_once('e') {
            Some((mantissa, exponent)) => format!("{}e{exponent}", trim_zeros(mantissa)),
            None => text,
        };
    }
    trim_zeros(&format!("{value:.*}", (5.0 - magnitude).clamp(0.0, 12.0) as usize)).to_owned()
}

fn non_finite(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value > 0.0 => "inf".to_owned(),
        _ => "-inf".to_owned(),
    }
}

fn significant(value: f64, digits: usize) -> String {
    let before = if value >= 1.0 { value.log10().floor() as usize + 1 } else { 1 };
    format!("{value:.*}", digits.saturating_sub(before))
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Parses a size such as `512MiB`, `2 GB`, `1000`; powers of 1024 for `KiB` and `K`, of 1000 for `kB`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * factor as f64;
    (value.is_finite() && value < u64::MAX as f64).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(
            [count(0), count(999), count(78_666), count(1_234_567)],
            ["0", "999", "78,666", "1,234,567"]
        );
    }

    #[test]
    fn sizes_have_three_digits_and_binary_units() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1024), bytes(319_752), bytes(1_310_720), bytes(5 << 40)],
            ["0 B", "1023 B", "1.00 KiB", "312 KiB", "1.25 MiB", "5.00 TiB"]
        );
    }

    #[test]
    fn only_an_exact_share_reads_as_all_or_nothing() {
        assert_eq!(
            [percent(1.0), percent(0.9999), percent(0.0), percent(1e-5)],
            ["100.0 %", ">99.9 %", "0.0 %", "<0.1 %"]
        );
    }

    #[test]
    fn reals_keep_six_digits_at_any_size() {
        assert_eq!(
            [
                real(1.0 / 85.0),
                real(1.5e-9),
                real(123_456.0),
                real(-0.25),
                real(f64::NEG_INFINITY),
                real(3.0e38)
            ],
            ["0.0117647", "1.5e-9", "123456", "-0.25", "-inf", "3e38"]
        );
    }

    #[test]
    fn sizes_are_read_in_both_systems() {
        assert_eq!(parse_bytes("2 GB"), Some(2_000_000_000));
        assert_eq!(parse_bytes("1.5MiB"), Some(1_572_864));
        assert_eq!([parse_bytes("x"), parse_bytes("5 parsec"), parse_bytes("")], [None, None, None]);
    }

    #[test]
    fn durations_choose_their_unit() {
        assert_eq!(duration(Duration::from_nanos(1_274_000)), "1.27 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(duration(Duration::from_nanos(800)), "0.80 µs");
    }
}
