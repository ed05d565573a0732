//! The arguments of searches for positions, which four generations of commands share.

use crate::base::geo::{Outline, Position, Shape};
use crate::base::number::parse_f64;
use crate::command::arguments::{integer, is_word};
use crate::command::error::CommandError;
use crate::resp::Args;

/// Which of the commands it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// GEORADIUS and GEORADIUSBYMEMBER.
    Radius {
        by_member: bool,
        may_store: bool,
    },
    Search,
    SearchStore,
}

impl Variant {
    /// Where the key to search in stands.
    pub fn source_at(self) -> usize {
        if self == Variant::SearchStore { 2 } else { 1 }
    }

    pub fn store_event(self) -> &'static str {
        if matches!(self, Variant::Radius { .. }) { "georadiusstore" } else { "geosearchstore" }
    }

    fn is_search(self) -> bool {
        !matches!(self, Variant::Radius { .. })
    }

    fn may_store(self) -> bool {
        matches!(self, Variant::Radius { may_store: true, .. })
    }
}

/// In which order of their distances members come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    None,
    Ascending,
    Descending,
}

/// What is replied beside members.
#[derive(Clone, Copy, Debug, Default)]
pub struct With {
    pub distance: bool,
    pub hash: bool,
    pub position: bool,
}

/// All that a search is asked for.
pub struct Search<'a> {
    pub shape: Shape,
    pub order: Order,
    /// The most members wanted.
    pub count: usize,
    /// Any members will do, not only the nearest.
    pub any: bool,
    pub with: With,
    pub destination: Option<&'a [u8]>,
    /// Store distances in place of positions.
    pub store_distance: bool,
}

/// A member's position in the sorted set, if it is there.
pub type PositionOf<'f> = &'f dyn Fn(&[u8]) -> Option<Position>;

/// Options as they are read, before it is known whether they go together.
struct Reader<'a, 'f> {
    args: Args<'a>,
    variant: Variant,
    /// None when there is no sorted set: members are not looked for, then.
    position_of: Option<PositionOf<'f>>,
    center: Option<Position>,
    from_member: bool,
    from_position: bool,
    outline: Option<Outline>,
    unit_m: f64,
    order: Order,
    count: Option<usize>,
    any: bool,
    with: With,
    destination: Option<&'a [u8]>,
    store_distance: bool,
}

impl<'a> Search<'a> {
    /// Reads the arguments in Redis's order, which decides the error that is told first.
    ///
    /// # Errors
    /// `Syntax`, and Redis's texts for each thing that may be wrong.
    pub fn parse(
        args: &Args<'a>,
        variant: Variant,
        position_of: Option<PositionOf<'_>>,
    ) -> Result<Search<'a>, CommandError> {
        let mut reader = Reader {
            args: *args,
            variant,
            position_of,
            center: None,
            from_member: false,
            from_position: false,
            outline: None,
            unit_m: 1.0,
            order: Order::None,
            count: None,
            any: false,
            with: With::default(),
            destination: None,
            store_distance: false,
        };
        let first = reader.read_fixed()?;
        reader.read_options(first)?;
        reader.finish()
    }
}

impl<'a> Reader<'a, '_> {
    /// The argument at `index`; callers have looked whether it is there.
    fn argument(&self, index: usize) -> &'a [u8] {
        self.args.get(index).unwrap_or_default()
    }

    /// Reads what has its place; returns where options begin.
    fn read_fixed(&mut self) -> Result<usize, CommandError> {
        match self.variant {
            Variant::Radius { by_member: false, .. } => {
                self.center = Some(position(self.argument(2), self.argument(3))?);
                self.read_radius(4)?;
                Ok(6)
            }
            Variant::Radius { by_member: true, .. } => {
                // Without a sorted set nothing is looked at: options decide what is replied.
                if self.position_of.is_some() {
                    self.read_member(2)?;
                    self.read_radius(3)?;
                }
                Ok(5)
            }
            Variant::Search => Ok(2),
            Variant::SearchStore => {
                self.destination = self.args.get(1);
                Ok(3)
            }
        }
    }

    fn read_options(&mut self, first: usize) -> Result<(), CommandError> {
        let mut index = first;
        while let Some(option) = self.args.get(index) {
            let left = self.args.len() - index - 1;
            let is_search = self.variant.is_search();
            index += 1;
            match () {
                _ if is_word(option, "WITHDIST") => self.with.distance = true,
                _ if is_word(option, "WITHHASH") => self.with.hash = true,
                _ if is_word(option, "WITHCOORD") => self.with.position = true,
                _ if is_word(option, "ANY") => self.any = true,
                _ if is_word(option, "ASC") => self.order = Order::Ascending,
                _ if is_word(option, "DESC") => self.order = Order::Descending,
                _ if is_word(option, "COUNT") && left >= 1 => {
                    let count = integer(self.argument(index))?;
                    let count = usize::try_from(count).ok().filter(|count| *count > 0);
                    self.count = Some(count.ok_or(CommandError::text_static("ERR COUNT must be > 0"))?);
                    index += 1;
                }
                _ if is_word(option, "STORE") && left >= 1 && self.variant.may_store() => {
                    (self.destination, self.store_distance) = (self.args.get(index), false);
                    index += 1;
                }
                _ if is_word(option, "STOREDIST") && left >= 1 && self.variant.may_store() => {
                    (self.destination, self.store_distance) = (self.args.get(index), true);
                    index += 1;
                }
                _ if is_word(option, "STOREDIST") && self.variant == Variant::SearchStore => self.store_distance = true,
                _ if is_word(option, "FROMMEMBER") && left >= 1 && is_search && !self.from_position => {
                    self.read_member(index)?;
                    self.from_member = true;
                    index += 1;
                }
                _ if is_word(option, "FROMLONLAT") && left >= 2 && is_search && !self.from_member => {
                    self.center = Some(position(self.argument(index), self.argument(index + 1))?);
                    self.from_position = true;
                    index += 2;
                }
                _ if is_word(option, "BYRADIUS") && left >= 2 && is_search && !self.has_box() => {
                    self.read_radius(index)?;
                    index += 2;
                }
                _ if is_word(option, "BYBOX")
                    && left >= 3
                    && is_search
                    && (self.outline.is_none() || self.has_box()) =>
                {
                    self.read_box(index)?;
                    index += 3;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(())
    }

    fn has_box(&self) -> bool {
        matches!(self.outline, Some(Outline::Box { .. }))
    }

    fn read_member(&mut self, index: usize) -> Result<(), CommandError> {
        if let Some(position_of) = self.position_of {
            let unknown = CommandError::text_static("ERR could not decode requested zset member");
            self.center = Some(position_of(self.argument(index)).ok_or(unknown)?);
        }
        Ok(())
    }

    fn read_radius(&mut self, index: usize) -> Result<(), CommandError> {
        let radius = length(self.argument(index), "ERR need numeric radius")?;
        if radius < 0.0 {
            return Err(CommandError::text_static("ERR radius cannot be negative"));
        }
        self.unit_m = unit(self.argument(index + 1))?;
        self.outline = Some(Outline::Circle { radius });
        Ok(())
    }

    fn read_box(&mut self, index: usize) -> Result<(), CommandError> {
        let width = length(self.argument(index), "ERR need numeric width")?;
        let height = length(self.argument(index + 1), "ERR need numeric height")?;
        if height < 0.0 || width < 0.0 {
            return Err(CommandError::text_static("ERR height or width cannot be negative"));
        }
        self.unit_m = unit(self.argument(index + 2))?;
        self.outline = Some(Outline::Box { width, height });
        Ok(())
    }

    /// Holds the options against each other.
    fn finish(self) -> Result<Search<'a>, CommandError> {
        let Reader { variant, with, count, .. } = self;
        if self.destination.is_some() && (with.distance || with.hash || with.position) {
            return Err(CommandError::text_static(match variant {
                Variant::SearchStore => {
                    "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
                _ => "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
            }));
        }
        if variant.is_search() && !(self.from_member || self.from_position) {
            let text = "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ";
            return Err(CommandError::quoting(text, self.argument(0), ""));
        }
        if variant.is_search() && self.outline.is_none() {
            let text = "ERR exactly one of BYRADIUS and BYBOX can be specified for ";
            return Err(CommandError::quoting(text, self.argument(0), ""));
        }
        if self.any && count.is_none() {
            return Err(CommandError::text_static("ERR the ANY argument requires COUNT argument"));
        }
        let order = match self.order {
            // The nearest ones are wanted.
            Order::None if count.is_some() && !self.any => Order::Ascending,
            order => order,
        };
        // Where there is no sorted set, no centre was read and none is needed.
        let center = self.center.unwrap_or(Position { longitude: 0.0, latitude: 0.0 });
        let outline = self.outline.unwrap_or(Outline::Circle { radius: 0.0 });
        Ok(Search {
            shape: Shape { center, outline, unit_m: self.unit_m },
            order,
            count: count.unwrap_or(usize::MAX),
            any: self.any,
            with,
            destination: self.destination,
            store_distance: self.store_distance,
        })
    }
}

/// A longitude and a latitude.
///
/// # Errors
/// `NotAFloat`, or the text that shows what is out of range.
pub fn position(longitude: &[u8], latitude: &[u8]) -> Result<Position, CommandError> {
    let degrees = |argument| parse_f64(argument).ok_or(CommandError::NotAFloat);
    let (longitude, latitude) = (degrees(longitude)?, degrees(latitude)?);
    Position::new(longitude, latitude).ok_or_else(|| {
        CommandError::formatted(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

/// Metres in a unit.
///
/// # Errors
/// Redis's text for one that is unknown.
pub fn unit(name: &[u8]) -> Result<f64, CommandError> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let found = UNITS.iter().find(|(unit, _)| is_word(name, unit)).map(|(_, metres)| *metres);
    found.ok_or(CommandError::text_static("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

fn length(argument: &[u8], text: &'static str) -> Result<f64, CommandError> {
    parse_f64(argument).ok_or(CommandError::text_static(text))
}
