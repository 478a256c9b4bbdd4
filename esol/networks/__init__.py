"""Networks as modules, their losses and weights; they know no stages and no run folders."""
