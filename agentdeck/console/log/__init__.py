"""The log of a run on the screen: lines kept, sifted, drawn."""
