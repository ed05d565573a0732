//! Positions on the globe as Redis keeps them in sorted sets: 52-bit geohashes, distances, and the squares to look
//! in.
//!
//! A geohash interleaves longitude and latitude, each as a fraction of its range with `step` bits; longitude has the
//! odd bits, the highest first. A score is the geohash with 26 bits each. The formulas take their steps in Redis's
//! order, so that every double comes out the same to the last bit. Pure functions; called by `command::geo`.

/// Bits of each coordinate in a score.
const STEP_MAX: u32 = 26;
/// What can be encoded: the limits of EPSG:3857.
const LONGITUDES: Range = Range { min: -180.0, max: 180.0 };
const LATITUDES: Range = Range { min: -85.05112878, max: 85.05112878 };
/// All latitudes: what geohashes as text are made with.
const ALL_LATITUDES: Range = Range { min: -90.0, max: 90.0 };
/// Quadratic mean radius of the earth (WGS 84), in metres.
const EARTH_RADIUS_M: f64 = 6372797.560856;
/// Half the way around the equator in a Mercator map, in metres.
const MERCATOR_MAX_M: f64 = 20037726.37;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;
const ODD_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const EVEN_BITS: u64 = 0x5555_5555_5555_5555;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    min: f64,
    max: f64,
}

impl Range {
    fn has(self, value: f64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    fn clamp(self, value: f64) -> f64 {
        if value > self.max {
            self.max
        } else if value < self.min {
            self.min
        } else {
            value
        }
    }
}

/// A point, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    pub longitude: f64,
    pub latitude: f64,
}

impl Position {
    /// A position within the limits of what can be encoded.
    pub fn new(longitude: f64, latitude: f64) -> Option<Position> {
        let is_valid = LONGITUDES.has(longitude) && LATITUDES.has(latitude);
        is_valid.then_some(Position { longitude, latitude })
    }

    /// The score of a member at this position.
    pub fn score(self) -> f64 {
        Square::around(self, LATITUDES, STEP_MAX).bits as f64
    }

    /// The middle of the square that a score stands for. Any double is taken for a score.
    pub fn of_score(score: f64) -> Position {
        let (longitudes, latitudes) = Square { bits: score_bits(score), step: STEP_MAX }.area();
        Position {
            longitude: LONGITUDES.clamp((longitudes.min + longitudes.max) / 2.0),
            latitude: LATITUDES.clamp((latitudes.min + latitudes.max) / 2.0),
        }
    }

    /// The usual geohash as text: eleven characters, the last one always `0`.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Square::around(self, ALL_LATITUDES, STEP_MAX).bits;
        std::array::from_fn(|index| match index {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (52 - (index + 1) * 5) & 0x1f) as usize],
        })
    }

    /// Metres to another position along a great circle.
    pub fn distance_m(self, other: Position) -> f64 {
        let v = ((to_radians(other.longitude) - to_radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance_m(self.latitude, other.latitude);
        }
        let (latitude, other_latitude) = (to_radians(self.latitude), to_radians(other.latitude));
        let u = ((other_latitude - latitude) / 2.0).sin();
        let a = u * u + latitude.cos() * other_latitude.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

fn to_radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn to_degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

fn latitude_distance_m(one: f64, other: f64) -> f64 {
    EARTH_RADIUS_M * (to_radians(other) - to_radians(one)).abs()
}

/// The bits of a score, of which any double may be one: converted as x86 processors do.
fn score_bits(score: f64) -> u64 {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if score < TWO_TO_63 {
        return (score as i64).cast_unsigned();
    }
    let above = score - TWO_TO_63;
    let low = if above < TWO_TO_63 { above as i64 } else { i64::MIN };
    (low ^ i64::MIN).cast_unsigned()
}

/// A geohash of any number of bits: a square of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Square {
    bits: u64,
    /// Bits of each coordinate.
    step: u32,
}

impl Square {
    /// The square with a position in it.
    fn around(position: Position, latitudes: Range, step: u32) -> Square {
        let fraction = |value: f64, range: Range| (value - range.min) / (range.max - range.min);
        let scale = (1u64 << step) as f64;
        let latitude = fraction(position.latitude, latitudes) * scale;
        let longitude = fraction(position.longitude, LONGITUDES) * scale;
        Square { bits: interleave(latitude as u32, longitude as u32), step }
    }

    /// The longitudes and latitudes in it.
    fn area(self) -> (Range, Range) {
        let (latitude, longitude) = deinterleave(self.bits);
        let scale = (1u64 << self.step) as f64;
        let part = |number: u32, range: Range| {
            let at = |number: u32| range.min + (f64::from(number) / scale) * (range.max - range.min);
            Range { min: at(number), max: at(number.wrapping_add(1)) }
        };
        (part(longitude, LONGITUDES), part(latitude, LATITUDES))
    }

    /// The square so many squares to the east and to the north (-1, 0 or 1); around the globe at its end.
    fn neighbour(self, east: i8, north: i8) -> Square {
        let unused = 64 - self.step * 2;
        let (mut x, mut y) = (self.bits & ODD_BITS, self.bits & EVEN_BITS);
        let (below_x, below_y) = (EVEN_BITS >> unused, ODD_BITS >> unused);
        match east {
            0 => {}
            1 => x = x.wrapping_add(below_x + 1) & ODD_BITS >> unused,
            _ => x = (x | below_x).wrapping_sub(below_x + 1) & ODD_BITS >> unused,
        }
        match north {
            0 => {}
            1 => y = y.wrapping_add(below_y.wrapping_add(1)) & EVEN_BITS >> unused,
            _ => y = (y | below_y).wrapping_sub(below_y.wrapping_add(1)) & EVEN_BITS >> unused,
        }
        Square { bits: x | y, step: self.step }
    }

    /// The lowest score in it, and the one behind its highest.
    fn scores(self) -> (f64, f64) {
        let unused = 52 - self.step * 2;
        ((self.bits << unused) as f64, ((self.bits + 1) << unused) as f64)
    }
}

/// Spreads the bits of a number over the even places.
fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    bits = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    bits = (bits | bits << 8) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333_3333_3333;
    (bits | bits << 1) & EVEN_BITS
}

/// Gathers the bits of the even places.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & EVEN_BITS;
    bits = (bits | bits >> 1) & 0x3333_3333_3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits >> 8) & 0x0000_ffff_0000_ffff;
    (bits | bits >> 16) as u32
}

fn interleave(even: u32, odd: u32) -> u64 {
    spread(even) | spread(odd) << 1
}

fn deinterleave(bits: u64) -> (u32, u32) {
    (gather(bits), gather(bits >> 1))
}

/// What a search looks within, its sizes in units of `unit_m` metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub center: Position,
    pub outline: Outline,
    pub unit_m: f64,
}

/// The outline of a shape around its centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outline {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Shape {
    /// Metres from the centre to a position, if it is within the shape.
    pub fn distance_m(&self, position: Position) -> Option<f64> {
        match self.outline {
            Outline::Circle { radius } => {
                let distance = self.center.distance_m(position);
                let is_outside = distance > radius * self.unit_m;
                (!is_outside).then_some(distance)
            }
            Outline::Box { width, height } => {
                let (width, height) = (width * self.unit_m, height * self.unit_m);
                if latitude_distance_m(position.latitude, self.center.latitude) > height / 2.0 {
                    return None;
                }
                let beside = Position { longitude: self.center.longitude, latitude: position.latitude };
                if position.distance_m(beside) > width / 2.0 {
                    return None;
                }
                Some(self.center.distance_m(position))
            }
        }
    }

    /// Ranges of scores, the first end of each in and the second out of it, that have every member within the shape:
    /// those of the square with the centre, and of the squares around it as far as they matter.
    pub fn score_ranges(&self) -> impl Iterator<Item = (f64, f64)> {
        let (longitudes, latitudes) = self.bounds();
        let mut step = steps_for(self.reach_m(), self.center.latitude);
        let mut middle = Square::around(self.center, LATITUDES, step);
        let is_small = |middle: Square| {
            middle.neighbour(0, 1).area().1.max < latitudes.max
                || middle.neighbour(0, -1).area().1.min > latitudes.min
                || middle.neighbour(1, 0).area().0.max < longitudes.max
                || middle.neighbour(-1, 0).area().0.min > longitudes.min
        };
        if step > 1 && is_small(middle) {
            step -= 1;
            middle = Square::around(self.center, LATITUDES, step);
        }
        let (around_x, around_y) = middle.area();
        let matters = move |east: i8, north: i8| {
            let is_needless = (north < 0 && around_y.min < latitudes.min)
                || (north > 0 && around_y.max > latitudes.max)
                || (east < 0 && around_x.min < longitudes.min)
                || (east > 0 && around_x.max > longitudes.max);
            step < 2 || !is_needless
        };
        const DIRECTIONS: [(i8, i8); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        // With large shapes squares are their own neighbours; only equal ones in a row are noticed, and not the first.
        let mut before = None;
        DIRECTIONS.into_iter().enumerate().filter_map(move |(index, (east, north))| {
            let square = middle.neighbour(east, north);
            if !matters(east, north) || before == Some(square) {
                return None;
            }
            before = (index > 0).then_some(square);
            Some(square.scores())
        })
    }

    /// The longitudes and latitudes that the shape reaches.
    fn bounds(&self) -> (Range, Range) {
        let (width, height) = match self.outline {
            Outline::Circle { radius } => (self.unit_m * radius, self.unit_m * radius),
            Outline::Box { width, height } => (self.unit_m * (width / 2.0), self.unit_m * (height / 2.0)),
        };
        let Position { longitude, latitude } = self.center;
        let up = to_degrees(height / EARTH_RADIUS_M);
        let aside = |latitude: f64| to_degrees(width / EARTH_RADIUS_M / to_radians(latitude).cos());
        // Meridians stand closer towards the poles, which is the other way in the south.
        let aside = if latitude < 0.0 { aside(latitude - up) } else { aside(latitude + up) };
        let longitudes = Range { min: longitude - aside, max: longitude + aside };
        (longitudes, Range { min: latitude - up, max: latitude + up })
    }

    /// Metres from the centre to what is farthest.
    fn reach_m(&self) -> f64 {
        let reach = match self.outline {
            Outline::Circle { radius } => radius,
            Outline::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
        };
        reach * self.unit_m
    }
}

/// Bits per coordinate with which nine squares have all that is within reach.
fn steps_for(reach_m: f64, latitude: f64) -> u32 {
    if reach_m == 0.0 {
        return STEP_MAX;
    }
    let (mut reach, mut step) = (reach_m, 1i32);
    while reach < MERCATOR_MAX_M {
        reach *= 2.0;
        step += 1;
    }
    step -= 2;
    // Towards the poles a square is less wide.
    step -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    step.clamp(1, STEP_MAX as i32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn palermo() -> Position {
        Position::new(13.361389, 38.115556).unwrap()
    }

    fn catania() -> Position {
        Position::new(15.087269, 37.502669).unwrap()
    }

    #[test]
    fn scores_and_positions_are_those_of_redis() {
        assert_eq!(palermo().score(), 3479099956230698.0);
        assert_eq!(catania().score(), 3479447370796909.0);
        let back = Position::of_score(3479099956230698.0);
        assert_eq!((back.longitude, back.latitude), (13.361389338970184, 38.1155563954963));
        assert_eq!(&palermo().geohash(), b"sqc8b49rny0");
        assert_eq!(&catania().geohash(), b"sqdtr74hyu0");
    }

    #[test]
    fn distance_follows_the_great_circle() {
        let (one, other) = (Position::of_score(3479099956230698.0), Position::of_score(3479447370796909.0));
        assert_eq!(format!("{:.4}", one.distance_m(other)), "166274.1516");
        assert_eq!(one.distance_m(one), 0.0);
    }

    #[test]
    fn limits_are_those_of_the_map() {
        assert!(Position::new(180.0, 85.05112878).is_some() && Position::new(-180.0, -85.05112878).is_some());
        assert!(Position::new(180.1, 0.0).is_none() && Position::new(0.0, 85.06).is_none());
        assert!(Position::new(f64::NAN, 0.0).is_none());
    }

    #[test]
    fn any_double_is_some_position() {
        for score in [-1.0, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, 0.0, 1e19] {
            let Position { longitude, latitude } = Position::of_score(score);
            assert!(Position::new(longitude, latitude).is_some(), "{score}");
        }
    }

    #[test]
    fn neighbours_go_around_the_globe() {
        let step = 3;
        let west = Square::around(Position::new(-180.0, 0.0).unwrap(), LATITUDES, step);
        let east = Square::around(Position::new(179.9, 0.0).unwrap(), LATITUDES, step);
        assert_eq!((west.neighbour(-1, 0), east.neighbour(1, 0)), (east, west));
        assert_eq!(west.neighbour(1, 1).neighbour(-1, -1), west);
        assert_eq!((interleave(0b101, 0b011), deinterleave(0b011011)), (0b011011, (0b101, 0b011)));
    }

    #[test]
    fn every_position_within_a_shape_is_in_one_of_its_ranges() {
        let mut random = crate::base::random::Random::new(11);
        let mut within = 0;
        for _ in 0..20_000 {
            let mut position = || Position {
                longitude: LONGITUDES.min + 360.0 * random.unit(),
                latitude: LATITUDES.min + 2.0 * LATITUDES.max * random.unit(),
            };
            let (center, near) = (position(), position());
            let mix = |from: f64, to: f64| from + (to - from) * 0.01;
            let other = Position {
                longitude: mix(center.longitude, near.longitude),
                latitude: mix(center.latitude, near.latitude),
            };
            let size = 400.0 * random.unit();
            for outline in [Outline::Circle { radius: size }, Outline::Box { width: size, height: size * 2.0 }] {
                let shape = Shape { center, outline, unit_m: 1000.0 };
                let score = other.score();
                if shape.distance_m(Position::of_score(score)).is_some() {
                    within += 1;
                    assert!(shape.score_ranges().any(|(min, max)| min <= score && score < max), "{shape:?} {other:?}");
                }
            }
        }
        assert!(within > 1000, "{within}");
    }
}
