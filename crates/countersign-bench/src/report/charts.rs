//! Charts as SVG: bars with quartiles, lines over an axis.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Chart, Row, Section, figure};
use crate::machine::Machine;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const FONT: &str = "sans-serif";
const WIDTH: u32 = 960;
const INK: RGBColor = RGBColor(40, 44, 52);
const FAINT: RGBColor = RGBColor(150, 155, 165);
const OURS: RGBColor = RGBColor(214, 93, 14);
const OTHERS: RGBColor = RGBColor(104, 134, 166);
const WRONG: RGBColor = RGBColor(190, 20, 20);

/// A section as SVG; `None` when it is not drawn, or has nothing to draw.
pub(super) fn draw(section: &Section, machine: &Machine) -> Result<Option<String>, Box<dyn Error>> {
    let mut svg = String::new();
    match &section.chart {
        Chart::None => return Ok(None),
        Chart::Bars => {
            let rows: Vec<&Row> = section.rows.iter().filter(|row| row.summary.is_some()).collect();
            if rows.is_empty() {
                return Ok(None);
            }
            bars(&mut svg, section, &rows, machine)?;
        }
        Chart::Lines { x } => {
            let points = points(section);
            if points.is_empty() {
                return Ok(None);
            }
            lines(&mut svg, section, x, &points, machine)?;
        }
    }
    Ok(Some(svg))
}

fn style(size: u32, color: &RGBColor, across: HPos) -> TextStyle<'_> {
    let place = Pos::new(across, VPos::Center);
    TextStyle::from((FONT, size).into_font()).color(color).pos(place)
}

/// Title at the top, facts at the bottom; returns where the chart begins and ends.
fn frame(
    root: &Area<'_>,
    section: &Section,
    machine: &Machine,
) -> Result<(i32, i32), Box<dyn Error>> {
    root.fill(&WHITE)?;
    let (title, color) = if section.is_void() {
        (format!("VOID: {}", section.title), WRONG)
    } else {
        (section.title.clone(), INK)
    };
    root.draw_text(&title, &style(18, &color, HPos::Left), (16, 22))?;
    root.draw_text(&section.unit, &style(13, &FAINT, HPos::Left), (16, 44))?;
    let bottom = i32::try_from(root.dim_in_pixel().1)?;
    let lines = facts(machine);
    let mut y = bottom - 14 * i32::try_from(lines.len())?;
    let end = y - 14;
    for line in lines {
        root.draw_text(&line, &style(10, &FAINT, HPos::Left), (16, y))?;
        y += 14;
    }
    Ok((64, end))
}

/// The machine's facts in lines that the picture is wide enough for.
fn facts(machine: &Machine) -> Vec<String> {
    /// As many characters as go beside each other, at the size that they have.
    const WIDE: usize = 160;
    let mut lines = Vec::new();
    for line in machine.lines() {
        let mut rest = String::new();
        for word in line.split_inclusive(' ') {
            if !rest.is_empty() && rest.chars().count() + word.trim_end().chars().count() > WIDE {
                lines.push(std::mem::take(&mut rest));
            }
            rest.push_str(word);
        }
        lines.push(rest);
    }
    lines
}

/// A bar per row up to its median, a whisker over its middle half, and its ratio.
fn bars(svg: &mut String, section: &Section, rows: &[&Row], machine: &Machine) -> Drawn {
    const STEP: i32 = 22;
    const LEFT: i32 = 210;
    const RIGHT: i32 = 780;
    let foot = 18 + 14 * i32::try_from(facts(machine).len())?;
    let height = 64 + STEP * i32::try_from(rows.len())? + foot;
    let root = SVGBackend::with_string(svg, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    let (mut y, _) = frame(&root, section, machine)?;
    let longest = longest(rows);
    let at = |value: f64| {
        let share = (value / longest).clamp(0.0, 1.0);
        #[allow(clippy::cast_possible_truncation, reason = "within the picture")]
        let right = (share * f64::from(RIGHT - LEFT)).round() as i32;
        LEFT + right
    };
    if let Some(label) = rows.iter().flat_map(|row| &row.comparisons).map(|one| &one.label).next() {
        root.draw_text(label, &style(12, &FAINT, HPos::Right), (944, y - 6))?;
    }
    for row in rows {
        let Some(summary) = row.summary else { continue };
        let middle = y + STEP / 2;
        let color = if row.name.starts_with("ours") { OURS } else { OTHERS };
        root.draw_text(&row.name, &style(12, &INK, HPos::Right), (LEFT - 8, middle))?;
        let bar = [(LEFT, y + 4), (at(summary.median), y + STEP - 4)];
        root.draw(&Rectangle::new(bar, color.filled()))?;
        let whisker = vec![(at(summary.q1), middle), (at(summary.q3), middle)];
        root.draw(&PathElement::new(whisker, INK.stroke_width(2)))?;
        let cut = if summary.median > longest { " (cut)" } else { "" };
        let value = format!("{}{cut}", figure(summary.median));
        let beside = at(summary.q3.max(summary.median)) + 6;
        root.draw_text(&value, &style(12, &INK, HPos::Left), (beside, middle))?;
        if let Some(ratio) = row.comparisons.first().and_then(|one| one.summary) {
            let ratio = format!("{:.2}", ratio.median);
            root.draw_text(&ratio, &style(12, &INK, HPos::Right), (944, middle))?;
        }
        y += STEP;
    }
    root.present()?;
    drop(root);
    Ok(())
}

/// Where the longest bar ends. What is far beyond the others is cut, so that they can be told
/// apart.
fn longest(rows: &[&Row]) -> f64 {
    let medians: Vec<f64> = rows.iter().filter_map(|row| Some(row.summary?.median)).collect();
    let sorted = crate::stats::sorted(&medians);
    let typical = crate::stats::quantile(&sorted, 0.5).unwrap_or(1.0);
    let within = sorted.iter().copied().filter(|median| *median <= typical * 8.0);
    within.fold(f64::MIN_POSITIVE, f64::max)
}

/// A series and its points: place on the axis, quartiles of the ratio to the first.
type Series<'a> = (&'a str, Vec<(f64, [f64; 3])>);

fn points(section: &Section) -> Vec<Series<'_>> {
    let mut found: Vec<Series<'_>> = Vec::new();
    for row in &section.rows {
        let ratio = row.comparisons.first().and_then(|one| one.summary);
        let (Some(series), Some(x), Some(ratio)) = (row.series.as_deref(), row.x, ratio) else {
            continue;
        };
        let point = (x, [ratio.q1, ratio.median, ratio.q3]);
        match found.iter_mut().find(|(name, _)| *name == series) {
            Some((_, points)) => points.push(point),
            None => found.push((series, vec![point])),
        }
    }
    found
}

fn lines(
    svg: &mut String,
    section: &Section,
    axis: &str,
    series: &[Series<'_>],
    machine: &Machine,
) -> Drawn {
    const HEIGHT: u32 = 440;
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let (top, bottom) = frame(&root, section, machine)?;
    let every = || series.iter().flat_map(|(_, points)| points);
    let least = every().map(|(x, _)| *x).fold(f64::MAX, f64::min).max(1.0);
    let most = every().map(|(x, _)| *x).fold(least * 2.0, f64::max);
    let highest = every().map(|(_, ratio)| ratio[2]).fold(1.2, f64::max) * 1.1;
    let below = i32::try_from(HEIGHT)? - bottom;

    let mut chart = ChartBuilder::on(&root)
        .margin_top(top)
        .margin_bottom(below)
        .margin_right(40)
        .margin_left(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((least..most).log_scale(), 0.0..highest)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(axis)
        .y_desc("× the first")
        .label_style((FONT, 12).into_font().color(&INK))
        .axis_desc_style((FONT, 12).into_font().color(&FAINT))
        .x_label_formatter(&|x| figure(*x))
        .y_label_formatter(&|y| format!("{y:.1}"))
        .draw()?;
    for (name, points) in series {
        let color = if name.starts_with("ours") { OURS } else { OTHERS };
        let medians = points.iter().map(|(x, ratio)| (*x, ratio[1]));
        chart
            .draw_series(LineSeries::new(medians.clone(), color.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 16, y)], color.stroke_width(2))
            });
        chart.draw_series(medians.map(|point| Circle::new(point, 3, color.filled())))?;
        chart.draw_series(points.iter().map(|(x, [q1, _, q3])| {
            PathElement::new(vec![(*x, *q1), (*x, *q3)], color.stroke_width(1))
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(FAINT)
        .label_font((FONT, 12).into_font().color(&INK))
        .draw()?;
    root.present()?;
    drop(chart);
    drop(root);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_every_row_and_say_when_a_run_is_void() {
        let mut section = Section::new("calls", "Calls", "µs", Chart::Bars);
        section.rows.push(Row::measured("tonic-tls", [1.0, 2.0]));
        section.rows.push(Row::measured("ours-gate", [1.5, 2.5]));
        section.rows.push(Row::missing("go", "not built"));
        section.compare("ratio", |_| Some("tonic-tls"));
        let machine = Machine::inspect("not pinned");
        let svg = draw(&section, &machine).expect("drawn").expect("a chart");
        assert!(svg.starts_with("<svg"), "{svg}");
        assert!(svg.contains("ours-gate") && !svg.contains("VOID"), "{svg}");
        section.control("tonic-tls", "ours-gate");
        assert!(draw(&section, &machine).expect("drawn").expect("a chart").contains("VOID"));
    }

    #[test]
    fn lines_have_a_legend_and_an_axis() {
        let chart = Chart::Lines { x: "callers".to_owned() };
        let mut section = Section::new("curves-callers", "Callers", "µs", chart);
        section.rows.push(Row::measured("a @ 1", [1.0]).at("a", 1.0));
        section.rows.push(Row::measured("a @ 100", [1.1]).at("a", 100.0));
        section.compare("× first", |_| Some("a @ 1"));
        let svg = draw(&section, &Machine::inspect("")).expect("drawn").expect("a chart");
        assert!(svg.contains("callers"), "{svg}");
    }

    #[test]
    fn what_has_no_samples_is_not_drawn() {
        let mut section = Section::new("calls", "Calls", "µs", Chart::Bars);
        section.rows.push(Row::missing("go", "not built"));
        assert!(draw(&section, &Machine::inspect("")).expect("no error").is_none());
    }
}
