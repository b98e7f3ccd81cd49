//! A plot as an SVG picture: two axes, and lines, dots and bars between them.

use std::fmt::Write as _;

use super::figures::{escaped, fixed};

/// The picture's size, in the units of its letters: twelve to a line.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 250.0;
/// Where the axes leave room for their words.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 42.0;
/// No number beyond this has a place in a plot.
const LARGEST: f64 = 1e100;
/// Colours that the page knows, one after the other.
const COLOURS: usize = 8;

/// A plot to be.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    title: String,
    x: Axis,
    y: Axis,
    layers: Vec<Layer>,
    note: String,
}

/// An axis with what it measures, its unit with it.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    label: String,
    /// What it shows at least.
    range: Option<(f64, f64)>,
    /// It shows no more than this, nor does the room around what it shows.
    limits: (f64, f64),
    /// Only whole numbers mean something.
    whole: bool,
    /// The marks on it, in place of round numbers.
    marks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis from zero on.
    pub(super) fn new(label: &str) -> Self {
        let limits = (0.0, f64::INFINITY);
        let range = Some((0.0, 0.0));
        Self { label: label.to_owned(), range, limits, whole: false, marks: Vec::new() }
    }

    /// An axis about what it shows, wherever that lies.
    pub(super) fn free(label: &str) -> Self {
        Self { range: None, ..Self::new(label) }
    }

    /// Nothing lies beyond `limit`.
    pub(super) fn up_to(mut self, limit: f64) -> Self {
        self.limits.1 = limit;
        self
    }

    /// It begins half a step below zero, so that what stands about zero is seen.
    pub(super) fn about_whole(mut self) -> Self {
        self.limits.0 = -0.5;
        self.whole = true;
        self
    }

    /// It shows these too.
    pub(super) fn with(mut self, low: f64, high: f64) -> Self {
        let (a, b) = self.range.unwrap_or((low, high));
        self.range = Some((a.min(low), b.max(high)));
        self
    }

    /// Only whole numbers mean something.
    pub(super) fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// With these marks in place of round numbers.
    pub(super) fn marked(mut self, marks: Vec<(f64, String)>) -> Self {
        self.marks = marks;
        self
    }
}

/// What a plot shows in one colour, with its name in the legend.
#[derive(Clone, Debug)]
struct Layer {
    name: String,
    colour: usize,
    marks: Marks,
}

#[derive(Clone, Debug)]
enum Marks {
    Line {
        points: Vec<(f64, f64)>,
        dashed: bool,
    },
    /// Points with what they say when they are pointed at.
    Dots(Vec<(f64, f64, String)>),
    /// (From, to, how high.)
    Bars(Vec<(f64, f64, f64)>),
    /// (From, to, at which height, what it says.)
    Spans(Vec<(f64, f64, f64, String)>),
}

impl Plot {
    pub(super) fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self { title: title.to_owned(), x, y, layers: Vec::new(), note: String::new() }
    }

    /// A sentence below it.
    pub(super) fn note(&mut self, note: String) {
        self.note = note;
    }

    pub(super) fn line(&mut self, name: &str, colour: usize, points: Vec<(f64, f64)>) {
        self.layer(name, colour, Marks::Line { points, dashed: false });
    }

    pub(super) fn dashes(&mut self, name: &str, colour: usize, points: Vec<(f64, f64)>) {
        self.layer(name, colour, Marks::Line { points, dashed: true });
    }

    pub(super) fn dots(&mut self, name: &str, colour: usize, dots: Vec<(f64, f64, String)>) {
        self.layer(name, colour, Marks::Dots(dots));
    }

    pub(super) fn bars(&mut self, name: &str, colour: usize, bars: Vec<(f64, f64, f64)>) {
        self.layer(name, colour, Marks::Bars(bars));
    }

    pub(super) fn spans(&mut self, name: &str, colour: usize, s: Vec<(f64, f64, f64, String)>) {
        self.layer(name, colour, Marks::Spans(s));
    }

    fn layer(&mut self, name: &str, colour: usize, mut marks: Marks) {
        // Not finite, or so large that a difference or a square would not be.
        let fine = |values: &[f64]| values.iter().all(|value| value.abs() < LARGEST);
        match &mut marks {
            Marks::Line { points, .. } => points.retain(|(x, y)| fine(&[*x, *y])),
            Marks::Dots(dots) => dots.retain(|(x, y, _)| fine(&[*x, *y])),
            Marks::Bars(bars) => bars.retain(|(from, to, y)| fine(&[*from, *to, *y])),
            Marks::Spans(spans) => spans.retain(|(from, to, y, _)| fine(&[*from, *to, *y])),
        }
        if !marks.corners().is_empty() {
            self.layers.push(Layer { name: name.to_owned(), colour: colour % COLOURS, marks });
        }
    }

    /// Whether there is nothing to see.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// As a figure of the page.
    pub(super) fn html(&self) -> String {
        let corners: Vec<(f64, f64)> =
            self.layers.iter().flat_map(|layer| layer.marks.corners()).collect();
        let x = Scale::of(&self.x, corners.iter().map(|corner| corner.0), (LEFT, WIDTH - RIGHT));
        let y = Scale::of(&self.y, corners.iter().map(|corner| corner.1), (HEIGHT - BOTTOM, TOP));
        let title = escaped(&self.title);
        let mut html = format!(
            "<figure>\n<h4>{title}</h4>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n"
        );
        self.draw_axes(&mut html, &x, &y);
        for layer in &self.layers {
            layer.draw(&mut html, &x, &y);
        }
        html.push_str("</svg>\n");
        self.draw_legend(&mut html);
        if !self.note.is_empty() {
            let _ = writeln!(html, "<p class=\"note\">{}</p>", escaped(&self.note));
        }
        html.push_str("</figure>\n");
        html
    }

    fn draw_axes(&self, html: &mut String, x: &Scale, y: &Scale) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in &y.marks {
            let at = y.at(*value);
            let _ = writeln!(
                html,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                escaped(label)
            );
        }
        for (value, label) in &x.marks {
            let at = x.at(*value);
            let _ = writeln!(
                html,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\
                 <text class=\"mid\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 4.0,
                bottom + 17.0,
                escaped(label)
            );
        }
        let _ = writeln!(
            html,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\
             <text class=\"mid\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <text class=\"mid\" transform=\"translate(12 {:.1}) rotate(-90)\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 7.0,
            escaped(&self.x.label),
            f64::midpoint(TOP, bottom),
            escaped(&self.y.label)
        );
    }

    fn draw_legend(&self, html: &mut String) {
        let mut named: Vec<(usize, bool, &str)> = Vec::new();
        for Layer { name, colour, marks } in &self.layers {
            let dashed = matches!(marks, Marks::Line { dashed: true, .. });
            if !named.contains(&(*colour, dashed, name)) {
                named.push((*colour, dashed, name));
            }
        }
        if named.iter().all(|one| one == &named[0]) {
            return;
        }
        html.push_str("<ul class=\"legend\">");
        for (colour, dashed, name) in named {
            let dashed = if dashed { " dashed" } else { "" };
            let name = escaped(name);
            let _ = write!(html, "<li><i class=\"c{colour}{dashed}\"></i>{name}</li>");
        }
        html.push_str("</ul>\n");
    }
}

impl Marks {
    fn corners(&self) -> Vec<(f64, f64)> {
        match self {
            Self::Line { points, .. } => points.clone(),
            Self::Dots(dots) => dots.iter().map(|(x, y, _)| (*x, *y)).collect(),
            Self::Bars(bars) => {
                bars.iter().flat_map(|(from, to, y)| [(*from, 0.0), (*to, *y)]).collect()
            }
            Self::Spans(spans) => {
                spans.iter().flat_map(|(from, to, y, _)| [(*from, *y), (*to, *y)]).collect()
            }
        }
    }
}

impl Layer {
    fn draw(&self, html: &mut String, x: &Scale, y: &Scale) {
        let colour = self.colour;
        match &self.marks {
            Marks::Line { points, dashed } => {
                let dashed = if *dashed { " dashed" } else { "" };
                let _ = write!(html, "<polyline class=\"c{colour}{dashed}\" points=\"");
                for (at, point) in points.iter().enumerate() {
                    let space = if at == 0 { "" } else { " " };
                    let _ = write!(html, "{space}{:.1},{:.1}", x.at(point.0), y.at(point.1));
                }
                html.push_str("\"/>\n");
            }
            Marks::Dots(dots) => {
                for (at, height, says) in dots {
                    let (cx, cy, says) = (x.at(*at), y.at(*height), escaped(says));
                    let _ = writeln!(
                        html,
                        "<circle class=\"c{colour}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\">\
                         <title>{says}</title></circle>"
                    );
                }
            }
            Marks::Bars(bars) => {
                for (from, to, height) in bars {
                    let (left, right) = (x.at(*from), x.at(*to));
                    let (top, bottom) = (y.at(*height), y.at(0.0));
                    let _ = writeln!(
                        html,
                        "<rect class=\"c{colour}\" x=\"{left:.1}\" y=\"{top:.1}\" \
                         width=\"{:.1}\" height=\"{:.1}\"/>",
                        (right - left - 0.5).max(0.5),
                        (bottom - top).max(0.0)
                    );
                }
            }
            Marks::Spans(spans) => {
                for (from, to, height, says) in spans {
                    let (left, right, middle) = (x.at(*from), x.at(*to), y.at(*height));
                    let _ = writeln!(
                        html,
                        "<rect class=\"c{colour}\" x=\"{left:.1}\" y=\"{:.1}\" \
                         width=\"{:.1}\" height=\"6\"><title>{}</title></rect>",
                        middle - 3.0,
                        (right - left).max(1.0),
                        escaped(says)
                    );
                }
            }
        }
    }
}

/// Where values lie in the picture.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    marks: Vec<(f64, String)>,
}

impl Scale {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let is_upright = to < from;
        let (low, high) = axis.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        let (low, high) =
            values.fold((low, high), |(low, high), value| (low.min(value), high.max(value)));
        let (mut low, mut high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let least = if axis.whole { 1.0 } else { f64::MIN_POSITIVE };
        // A single value stands in the middle of something.
        if high - low < high.abs() * 1e-12 + f64::MIN_POSITIVE {
            let room = if axis.whole {
                (high.abs() * 1e-9).max(1.0)
            } else {
                (high.abs() * 0.1).max(1e-3)
            };
            (low, high) = (low - room, high + room);
        }
        let (floor, ceiling) = axis.limits;
        let step = step((high - low) / if is_upright { 4.0 } else { 6.0 }).max(least);
        if is_upright {
            // It ends at round numbers.
            low = (low / step).floor() * step;
            high = (high / step).ceil() * step;
        } else if axis.range.is_none() {
            let room = (high - low) * 0.06;
            (low, high) = (low - room, high + room);
        }
        (low, high) = (low.max(floor), high.min(ceiling));
        if high <= low {
            (low, high) = (low.min(high - step), high);
        }
        let marks = match &axis.marks[..] {
            [] => round_marks(low, high, step, axis.whole),
            marks => marks.to_vec(),
        };
        Self { low, high, from, to, marks }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.clamp(self.low, self.high) - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }
}

/// The least of 1, 2, 5 times a power of ten that is no less than `step`.
fn step(step: f64) -> f64 {
    let mut power = 1.0;
    while power * 10.0 <= step && power < 1e300 {
        power *= 10.0;
    }
    while power > step && power > 1e-300 {
        power /= 10.0;
    }
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= step * (1.0 - 1e-9));
    times.unwrap_or(10.0) * power
}

/// At every whole multiple of `step`.
fn round_marks(low: f64, high: f64, step: f64, is_whole: bool) -> Vec<(f64, String)> {
    let first = (low / step - 1e-6).ceil();
    let decimals = (0..9).find(|digits| {
        let scaled = step * 10f64.powi(*digits);
        (scaled - scaled.round()).abs() < 1e-6
    });
    let decimals = decimals.unwrap_or(9) as usize;
    let marks = (0..12).map(|n| (first + f64::from(n)) * step);
    let shown = marks.take_while(|value| *value <= high + step * 1e-6);
    let words = |value| if is_whole { fixed(value, 0) } else { mark(value, decimals) };
    shown.map(|value| (value, words(value))).collect()
}

/// A number on an axis: large ones in millions or thousands, where the room is short.
fn mark(value: f64, decimals: usize) -> String {
    let short = |size: f64, unit: &str| {
        let scaled = value / size;
        let decimals = usize::from((scaled - scaled.round()).abs() > 1e-6);
        format!("{} {unit}", fixed(scaled, decimals))
    };
    match value.abs() {
        size if size >= 1e9 => short(1e9, "bn"),
        size if size >= 1e6 => short(1e6, "M"),
        size if size >= 1e4 => short(1e3, "k"),
        _ => fixed(value, decimals),
    }
}
