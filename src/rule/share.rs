//! Shares of events, judged so that a few unlucky requests decide nothing.
//!
//! Against a limit is held not the plain quotient but the end of its 95 % confidence interval that favours the
//! service (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927), and
//! fewer than `min_errors` errors never count.

/// The two-sided 95 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Lower end of the Wilson interval for `errors` of `total` events; 0 without events.
pub fn lower_bound(errors: f64, total: f64) -> f64 {
    bound(Z, errors, total, -1.0)
}

/// Lower end of the Wilson interval that lies `z` standard deviations to both sides; 0 without events.
pub fn lower_bound_at(z: f64, errors: f64, total: f64) -> f64 {
    bound(z, errors, total, -1.0)
}

/// Upper end of the Wilson interval for `errors` of `total` events; 1 without events.
pub fn upper_bound(errors: f64, total: f64) -> f64 {
    if total > 0.0 { bound(Z, errors, total, 1.0) } else { 1.0 }
}

fn bound(z: f64, errors: f64, total: f64, sign: f64) -> f64 {
    if total <= 0.0 || !total.is_finite() {
        return 0.0;
    }
    // Counters of errors and of all events are read one after the other; a share above 1 is that, not more.
    let share = (errors / total).clamp(0.0, 1.0);
    // Wilson's formula times the total, so that few events, or parts of one, divide by nothing small.
    let z2 = z * z;
    let half = z * (share * (1.0 - share) * total + z2 / 4.0).sqrt();
    ((share * total + z2 / 2.0 + sign * half) / (total + z2)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_wilsons() {
        // Reference: the closed formula evaluated by hand for the counts that the documents show.
        for (errors, total, low) in [(212.0, 1493.0, 0.125), (8.0, 61.0, 0.068), (39.0, 131.0, 0.226), (0.0, 10.0, 0.0)]
        {
            assert!((lower_bound(errors, total) - low).abs() < 0.001, "{errors} of {total}");
        }
        assert!((upper_bound(0.0, 10.0) - 0.2775).abs() < 0.001);
        assert_eq!((lower_bound(0.0, 0.0), upper_bound(0.0, 0.0)), (0.0, 1.0));
        assert!(lower_bound(12.0, 10.0) <= 1.0);
        // 99 %: (0.2 + z^2/80 - z sqrt(0.16/40 + z^2/6400)) / (1 + z^2/40) with z = 2.58.
        assert!((lower_bound_at(2.58, 8.0, 40.0) - 0.085_769).abs() < 1e-5);
        assert_eq!(lower_bound(1e-320, 1e-320), 0.0);
    }
}
