"""Checks of a page in the browser that need no tool: contrast of texts, and names of controls."""

import re

UNNAMED = re.compile(r"^\s*- (button|combobox|img|link|switch|textbox)(?! \")", re.MULTILINE)
"""Controls without a name, in an ARIA snapshot."""
# Contrast of every visible text (WCAG 2.2, 1.4.3) with its background, whose translucent layers are blended.
LOW_CONTRAST = """() => {
    const rgba = (text) => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return [r, g, b, a];
    };
    const over = ([r, g, b, a], ground) => [r, g, b].map((value, i) => value * a + ground[i] * (1 - a));
    const ground = (element) => {
        const colour = rgba(getComputedStyle(element).backgroundColor);
        if (colour[3] === 1) return colour.slice(0, 3);
        return over(colour, element.parentElement ? ground(element.parentElement) : [255, 255, 255]);
    };
    const luminance = (colour) => {
        const [r, g, b] = colour.map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (one, other) => {
        const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const failures = [];
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        const style = getComputedStyle(element);
        if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
        const behind = ground(element);
        const large = parseFloat(style.fontSize) >= 24 ||
            (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
        const ratio = contrast(over(rgba(style.color), behind), behind);
        if (ratio < (large ? 3 : 4.5)) failures.push(`${texts.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
    }
    return failures;
}"""
