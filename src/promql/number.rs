//! Numbers as PromQL writes them.

/// As `count_values` writes a value: shortest digits that read back, no exponent, `+Inf`, `-Inf`, `NaN`.
pub(super) fn written(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        value.to_string()
    }
}
