/** A line of a table with columns of these widths; a column with a negative width is aligned to the right. */
export function textRow(cells: string[], widths: number[]): string {
  return cells.map((cell, index) => {
    const width = widths[index];
    // What is alone in its row, such as the reason of a failure, may take the whole line.
    if (index === cells.length - 1 && cells.length < widths.length) return `  ${cell}`;
    // What is too wide for its column is told apart nevertheless.
    return width < 0 ? ` ${cell}`.padStart(-width) : cell.padEnd(width);
  }).join("").trimEnd();
}
