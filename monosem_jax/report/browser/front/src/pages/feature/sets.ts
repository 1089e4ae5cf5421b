// The sets of a dictionary's records: how one of their members is called, and what the set is.

const NAMES: Record<string, [one: string, what: string]> = {
  features: ["Feature", "a feature of the dictionary"],
  neurons: ["Neuron", "a neuron of the site, for comparison with features"],
  control: ["Control feature", "a feature of the control: a dictionary of the same transformer with its weights shuffled"],
  random: ["Random direction", "a direction drawn at random in the site's space, for comparison"],
};

export const nameOf = (set: string): string => NAMES[set]?.[0] ?? `${set}:`;
export const meaningOf = (set: string): string => NAMES[set]?.[1] ?? `a member of the set ${set}`;
