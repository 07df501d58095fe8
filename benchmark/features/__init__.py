"""Features: images through a frozen backbone, extracted once and cached."""
