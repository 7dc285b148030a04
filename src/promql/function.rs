//! Functions from a value to a value.

/// A function of one number.
pub(super) type MathFn = fn(f64) -> f64;

/// Functions of a value and further numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapFn {
    Clamp,
    ClampMin,
    ClampMax,
    Round,
}

/// The plain functions by name.
pub(super) fn math(name: &str) -> Option<MathFn> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "sqrt" => f64::sqrt,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sgn" => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        _ => return None,
    })
}

impl MapFn {
    pub(super) fn named(name: &str) -> Option<MapFn> {
        Some(match name {
            "clamp" => MapFn::Clamp,
            "clamp_min" => MapFn::ClampMin,
            "clamp_max" => MapFn::ClampMax,
            "round" => MapFn::Round,
            _ => return None,
        })
    }

    /// The value; none where the limits of `clamp` cross.
    pub(super) fn apply(self, value: f64, [first, second]: [f64; 2]) -> Option<f64> {
        match self {
            MapFn::Clamp => {
                let (low, high) = (first, second);
                (low <= high || low.is_nan() || high.is_nan()).then(|| nan_max(low, nan_min(high, value)))
            }
            MapFn::ClampMin => Some(nan_max(first, value)),
            MapFn::ClampMax => Some(nan_min(first, value)),
            MapFn::Round => {
                // The inverse first, as Prometheus does: 0.1 has no exact float, 1 / 0.1 is 10.
                let inverse = 1.0 / first;
                Some((value * inverse + 0.5).floor() / inverse)
            }
        }
    }
}

/// NaN on either side gives NaN.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn nan_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// `max_of` and `min_of`: NaN on either side gives NaN.
pub(super) fn extreme(is_max: bool, a: f64, b: f64) -> f64 {
    if is_max { nan_max(a, b) } else { nan_min(a, b) }
}
