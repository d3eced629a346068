// Tabs as in WAI-ARIA's pattern: one is in the tab order, and the arrow keys lead to the others.

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

export function enableTabs(list) {
  const tabs = [...list.querySelectorAll('[role="tab"]')];
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => select(tabs, index));
    tab.addEventListener("keydown", (event) => {
      const next = nextIndex(event.key, index, tabs.length);
      if (next === null) return;
      event.preventDefault();
      select(tabs, next);
      tabs[next].focus();
    });
  });
}

function nextIndex(key, index, count) {
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return key in STEPS ? (index + STEPS[key] + count) % count : null;
}

function select(tabs, index) {
  tabs.forEach((tab, other) => {
    const isSelected = other === index;
    tab.setAttribute("aria-selected", String(isSelected));
    tab.tabIndex = isSelected ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !isSelected;
  });
}
